"""The true attribution of hand-set networks against Shapley values by enumeration, and methods that are exact on it."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from fervis import explain
from fervis.core.faces import Faces
from fervis.core.hand_set import HAND_SET_CASES, HAND_SET_PIXELS
from fervis.core.network import Network
from fervis.core.registry import build_plugin
from fervis.core.targets import class_targets
from fervis.errors import ConfigError
from fervis.models.batch import Batch

ROWS, COLUMNS = (list(axis) for axis in zip(*HAND_SET_PIXELS, strict=True))


def network_and_images(case: str) -> tuple[Network, Faces, Tensor, Tensor]:
    faces = build_plugin("dataset", "hand_set", case=case, count=12).load(Path())
    network = build_plugin("model", "hand_set", case=case).build(channels=1, size=8, classes=faces.classes).eval()
    assert faces.truth is not None
    assert faces.truth.attribution is not None
    return network, faces, faces.images.float() / 255, faces.truth.attribution


def shapley_values(network: Network, image: Tensor) -> list[float]:
    """Values of the eight pixels from all coalitions, those left out at each of their 256 patterns."""
    patterns = torch.tensor(list(itertools.product([0.0, 1.0], repeat=8)))
    worth = {}
    for inside in itertools.product([False, True], repeat=8):
        filled = image.expand(256, -1, -1, -1).clone()
        filled[:, 0, ROWS, COLUMNS] = torch.where(torch.tensor(inside), image[0, ROWS, COLUMNS], patterns)
        with torch.no_grad():
            worth[inside] = float(network(filled)[:, 1].double().mean())
    values = []
    for pixel in range(8):
        value = 0.0
        for inside in (inside for inside in worth if not inside[pixel]):
            share = math.factorial(sum(inside)) * math.factorial(7 - sum(inside)) / math.factorial(8)
            value += share * (worth[(*inside[:pixel], True, *inside[pixel + 1 :])] - worth[inside])
        values.append(value)
    return values


@pytest.mark.parametrize("case", HAND_SET_CASES)
def test_truth_is_the_shapley_value_of_all_coalitions(case: str):
    network, faces, images, attribution = network_and_images(case)
    for number in (0, 1):
        expected = shapley_values(network, images[number])
        assert attribution[number, ROWS, COLUMNS].tolist() == pytest.approx(expected, abs=5e-6)
    unread = torch.ones(8, 8, dtype=torch.bool)
    unread[ROWS, COLUMNS] = False
    assert not attribution[:, unread].any()
    logits = network(images)
    torch.testing.assert_close(logits[:, 0], -logits[:, 1])
    assert torch.equal(logits[:, 1] > 0, faces.labels == 1) or case == "conjunction"


@pytest.mark.parametrize("case", HAND_SET_CASES)
def test_the_pixels_that_matter_are_those_that_are_read(case: str):
    network, faces, images, _ = network_and_images(case)
    logits = network(images)
    changes = torch.zeros(8, 8, dtype=torch.bool)
    for row, column in itertools.product(range(8), range(8)):
        flipped = images.clone()
        flipped[:, 0, row, column] = 1 - flipped[:, 0, row, column]
        changes[row, column] = ((network(flipped) - logits).abs() > 1e-4).any()
    assert faces.truth is not None
    assert torch.equal(changes, faces.truth.evidence[0])


@pytest.mark.parametrize("explainer", ["integrated_gradients", "deep_lift"])
def test_methods_that_are_exact_for_sums_give_the_truth(explainer: str):
    network, _, images, attribution = network_and_images("additive")
    maps = explain(network, images, explainer, target=1, baseline=0.5).maps
    torch.testing.assert_close(maps, attribution, rtol=0, atol=1e-5)


def test_the_gradient_of_the_zigzag_has_the_wrong_sign_everywhere():
    network, _, images, attribution = network_and_images("shattered_gradient")
    maps = explain(network.body, 2 * images - 1, "input_x_gradient", target=1).maps
    torch.testing.assert_close(maps, -4 * attribution, rtol=0, atol=1e-4)


def test_input_times_gradient_misses_what_is_absent():
    network, _, images, attribution = network_and_images("pertinent_negative")
    maps = explain(network, images, "input_x_gradient", target=1).maps
    absent = images[:, 0] == 0
    assert not maps[absent].any()
    assert attribution[absent].any()


def test_a_network_for_other_images_is_refused():
    with pytest.raises(ConfigError, match="48 pixels and 7 classes"):
        build_plugin("model", "hand_set").build(channels=1, size=48, classes=tuple("abcdefg"))


def test_agreement_is_that_of_directions_and_of_the_target():
    network, faces, images, attribution = network_and_images("additive")
    batch = Batch(network, images, (), class_targets(torch.tensor([[0, 1]] * 12)), faces.classes, truth=faces.truth)
    maps = torch.stack([-3 * attribution, -attribution], 1)
    scores = build_plugin("evidence", "true_attribution").measure(batch, maps, None)
    torch.testing.assert_close(scores[""], torch.tensor([[1.0, -1.0]] * 12).double())
    torch.testing.assert_close(scores["unsigned"], torch.ones(12, 2).double())
    assert not build_plugin("evidence", "true_attribution").measure(batch, 0 * maps, None)[""].any()
