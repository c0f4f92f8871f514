"""XAI-TRIS: the data against its own definition, and which features tell the classes apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from fervis.core.faces import Faces
from fervis.core.registry import build_plugin

SCENARIOS = ("linear", "multiplicative", "translations_rotations", "xor")


def tetrominoes(scenario: str = "linear", background: str = "white", **knobs: object) -> Faces:
    knobs = {"count": 2000, "scenario": scenario, "background": background} | knobs
    return build_plugin("dataset", "xai_tris", **knobs).load(Path())


def accuracy(features: np.ndarray, faces: Faces) -> float:
    """Test accuracy of least squares on the training images."""
    features = np.column_stack([features, np.ones(len(features))])
    train, test = (faces.splits.numpy() == split for split in (0, 2))
    signs = faces.labels.numpy() * 2 - 1
    weights = np.linalg.lstsq(features[train], signs[train], rcond=None)[0]
    return float(((features[test] @ weights > 0) == (signs[test] > 0)).mean())


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_splits_classes_and_evidence(scenario: str):
    faces = tetrominoes(scenario)
    assert faces.splits.bincount().tolist() == [1600, 200, 200]
    assert [faces.split(name).labels.sum().item() for name in ("train", "val", "test")] == [800, 100, 100]
    assert faces.truth is not None
    counts = faces.truth.evidence.flatten(1).sum(1)
    assert set(counts.tolist()) == ({4} if scenario == "translations_rotations" else {8})
    assert max(faces.images.max(), 255 - faces.images.min()) == 255
    assert torch.equal(faces.images, tetrominoes(scenario).images)
    assert not torch.equal(faces.images, tetrominoes(scenario, seed=1).images)


def test_mean_difference_of_the_classes_is_the_two_tetrominoes():
    faces = tetrominoes(count=10_000)
    pixels = faces.images[:, 0].double()
    difference = pixels[faces.labels == 0].mean(0) - pixels[faces.labels == 1].mean(0)
    first, second = torch.zeros(8, 8), torch.zeros(8, 8)
    for row, column in ((1, 1), (2, 1), (2, 2), (3, 1)):
        first[row, column] = 1
    for row, column in ((4, 5), (5, 5), (6, 5), (6, 6)):
        second[row, column] = 1
    size = difference[2, 2]
    torch.testing.assert_close((difference / size).float(), first - second, rtol=0, atol=0.2)
    assert faces.truth is not None
    assert torch.equal(faces.truth.evidence[0], (first + second) > 0)


@pytest.mark.parametrize("background", ["white", "correlated"])
def test_pixels_tell_the_class_of_the_linear_scenario_and_products_that_of_xor(background: str):
    linear, xor = tetrominoes("linear", background), tetrominoes("xor", background)
    pixels = [faces.images[:, 0].flatten(1).double().numpy() / 127.5 - 1 for faces in (linear, xor)]
    assert accuracy(pixels[0], linear) > 0.75
    assert accuracy(pixels[1], xor) < 0.6
    rows, columns = (np.array(axis) for axis in ([1, 2, 2, 3, 4, 5, 6, 6], [1, 1, 2, 1, 5, 5, 5, 6]))
    detail = pixels[1].reshape(-1, 8, 8)
    if background == "correlated":  # what a pixel has more than its surroundings
        detail = detail - gaussian_filter(detail, (0, 1, 1))
    marked = detail[:, rows, columns]
    products = (marked[:, :4, None] * marked[:, None, 4:]).reshape(len(marked), -1)
    assert accuracy(products, xor) > 0.75


def test_correlated_noise_is_smooth():
    rough, smooth = (tetrominoes(background=name).images[:, 0].double() for name in ("white", "correlated"))
    neighbours = [
        np.corrcoef(pixels[:, :, :-1].flatten().numpy(), pixels[:, :, 1:].flatten().numpy())[0, 1]
        for pixels in (rough, smooth)
    ]
    assert neighbours[0] < 0.2
    assert neighbours[1] > 0.9


@pytest.mark.parametrize(("form", "parameters"), [("linear", 128), ("mlp", 2762), ("cnn", 234)])
def test_networks_have_the_published_layers(form: str, parameters: int):
    network = build_plugin("model", "tris", form=form).build(channels=1, size=8, classes=("t", "l"))
    assert sum(weights.numel() for weights in network.parameters()) == parameters
    assert network(torch.rand(2, 1, 8, 8)).shape == (2, 2)
