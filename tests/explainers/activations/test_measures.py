"""Numbers of outputs against closed forms, FFT and numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fervis.core.layers import find_layer
from fervis.core.registry import build_plugin
from fervis.core.targets import FilterSpec, select_filters
from fervis.errors import ConfigError
from fervis.explainers.activations import measures
from fervis.models.hooks import outputs_at


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def wave(down: int, across: int, height: int, width: int) -> Tensor:
    y, x = (torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width
    return torch.cos(torch.pi * down * y)[:, None] * torch.cos(torch.pi * across * x)[None]


def mirrored_fft(image: Tensor) -> float:
    """Mean frequency in cycles a face of the image continued by its mirror images."""
    values = image.double().numpy()
    values = np.block([[values, values[:, ::-1]], [values[::-1], values[::-1, ::-1]]])
    power = np.abs(np.fft.fft2(values)) ** 2
    power[0, 0] = 0
    (h, w) = image.shape
    # A cycle over twice the height is half a cycle a face.
    down, across = np.fft.fftfreq(2 * h, 1 / (2 * h)) / 2, np.fft.fftfreq(2 * w, 1 / (2 * w)) / 2
    return float((power * np.hypot(down[:, None], across[None])).sum() / power.sum())


@pytest.mark.parametrize(("height", "width"), [(6, 6), (48, 48), (5, 9)])
@pytest.mark.parametrize(("down", "across"), [(0, 1), (3, 0), (2, 4)])
def test_a_wave_has_its_frequency_at_every_size_and_scale(down: int, across: int, height: int, width: int):
    image = wave(down, across, height, width)
    expected = np.hypot(down, across) / 2
    found = measures.sharpness(torch.stack([image, 1e4 * image, -1e-4 * image, image + 3]))
    torch.testing.assert_close(found, torch.full((4,), expected, dtype=torch.float64), rtol=1e-4, atol=0)


def test_sharpness_is_that_of_the_mirrored_image_by_fft():
    board = (torch.arange(6)[:, None] + torch.arange(6)[None]) % 2.0
    for image in (board, noise(5, 8), noise(12, 12, seed=1), board[:, :5]):
        assert measures.sharpness(image).item() == pytest.approx(mirrored_fft(image), rel=1e-6)
    assert measures.sharpness(board) > measures.sharpness(board.roll(1, 0).cumsum(0))


def test_a_constant_has_no_sharpness_nor_anything_alike():
    flat = torch.full((2, 3, 4, 4), 0.3)
    assert measures.sharpness(flat).isnan().all()
    assert measures.roughness(flat).isnan().all()
    assert measures.pairwise_similarity(flat).isnan().all()
    assert measures.sharpness(torch.zeros(4, 4)).isnan()


def test_white_noise_has_roughness_one_and_the_half_period_the_least():
    # The waves' shares of white noise's power are exchangeable, so their mean is exact.
    assert measures.roughness(noise(4000, 6, 6)).mean().item() == pytest.approx(1, abs=0.01)
    frequencies = torch.hypot(torch.arange(6.0)[:, None], torch.arange(6.0)[None]) / 2
    expected = 0.5 / (frequencies.sum() / 35)
    assert measures.roughness(wave(1, 0, 6, 6)).item() == pytest.approx(expected.item(), rel=1e-5)


def test_sparsity_in_closed_form():
    places = torch.zeros(4, 4, 9)
    places[0] = 0.7  # everywhere
    places[1, 2, 3] = 5.0  # in one place
    places[2, :2, 0] = 0.2  # in two of 36
    places[3] = -1.0  # nowhere
    found = measures.sparsity(places)
    expected = torch.tensor([0.0, 1.0, (1 - 2 / 36) / (1 - 1 / 36)], dtype=torch.float64)
    torch.testing.assert_close(found[:3], expected, atol=1e-6, rtol=0)
    assert found[3].isnan()
    torch.testing.assert_close(measures.sparsity(noise(3, 5, 5)), measures.sparsity(100 * noise(3, 5, 5)))
    below = noise(3, 5, 5)
    torch.testing.assert_close(measures.sparsity(below), measures.sparsity(below.clamp_min(0)))


def test_black_by_hand():
    maps = torch.tensor([[[-1.0, 0.0], [2.0, 1e-9]], [[-0.1, -2.0], [0.0, 0.0]]])
    assert measures.share_nonpositive(maps).tolist() == [0.5, 1.0]


def test_correlations_are_numpys():
    one, other = noise(3, 5, 7), noise(2, 5, 7, seed=1)
    expected = np.abs(np.corrcoef(one.flatten(1).numpy(), other.flatten(1).numpy())[:3, 3:])
    np.testing.assert_allclose(measures.correlations(one, other).numpy(), expected, atol=1e-6)


def test_similarity_is_the_mean_over_pairs_that_vary():
    maps = noise(2, 4, 6, 6)
    maps[1, 2] = 0.5
    table = [np.abs(np.corrcoef(one.flatten(1).numpy())) for one in (maps[0], maps[1, [0, 1, 3]])]
    expected = [one[np.triu_indices(len(one), 1)].mean() for one in table]
    np.testing.assert_allclose(measures.pairwise_similarity(maps).numpy(), expected, atol=1e-6)
    assert measures.pairwise_similarity(maps[:, :1]).isnan().all()


def test_a_face_shows_by_brightness_by_edges_and_not_elsewhere():
    faces = torch.rand(2, 1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    light, edges = measures.brightness_and_edges(faces[:, 0], (8, 8))
    maps = torch.stack([light, -2 * light + 1, edges, torch.zeros_like(light)], 1)
    seen = measures.face_visible(maps, faces)[..., 0]
    torch.testing.assert_close(seen[:, :3], torch.ones(2, 3, dtype=torch.float64))
    assert seen[:, 3].isnan().all()
    # Both faces looked for in the outputs of both.
    both = measures.face_visible(maps, faces.transpose(0, 1))
    for n in range(2):
        for k in range(2):
            r = [np.corrcoef(light[n].flatten(), look[k].flatten())[0, 1] for look in (light, edges)]
            assert both[n, 0, k].item() == pytest.approx(max(map(abs, r)), abs=1e-6)


def test_looks_of_a_ramp():
    ramp = (torch.arange(8.0) * 0.1).expand(1, 1, 8, 8)
    light, edges = measures.brightness_and_edges(ramp, (8, 8))
    torch.testing.assert_close(light[0], ramp[0, 0].double())
    torch.testing.assert_close(edges[0, :, 1:-1], torch.full((8, 6), 0.1, dtype=torch.float64))
    # At the border the continued image is flat on one side.
    torch.testing.assert_close(edges[0, :, 0], torch.full((8,), 0.05, dtype=torch.float64))
    red = torch.zeros(1, 3, 8, 8)
    red[:, 0] = ramp[:, 0]
    torch.testing.assert_close(measures.brightness_and_edges(red, (8, 8))[0][0], 0.299 * ramp[0, 0].double())
    assert measures.brightness_and_edges(ramp, (3, 5))[0].shape == (1, 3, 5)


PIXELS = find_layer(nn.Identity(), "input", torch.zeros(1, 1, 8, 8))


def test_outputs_of_layers_and_of_the_pixels(residual: nn.Module):
    images = noise(2, 1, 8, 8)
    layers = [find_layer(residual, name, images) for name in ("input", "conv2", "conv1")]
    pixels, second, first = outputs_at(residual, images, layers)
    assert torch.equal(pixels, images)
    torch.testing.assert_close(first, residual.conv1(images).detach())
    torch.testing.assert_close(second, residual.conv2(residual.conv1(images).tanh()).detach())
    assert torch.equal(outputs_at(residual, images, layers[:1])[0], images)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (3, (0, 1, 2)),
        ("first:2", (0, 1)),
        ("2", (0, 1)),
        (99, tuple(range(8))),
        ("all", tuple(range(8))),
        ([5, 2], (5, 2)),
    ],
)
def test_which_filters_are_meant(spec: Any, expected: tuple[int, ...]):
    assert FilterSpec().allows(spec)
    assert select_filters(spec, PIXELS, 8) == expected


@pytest.mark.parametrize(
    "spec", [0, -1, True, "first:0", "some", 2.0, [], [1, -1], ["a"], [1, 1], [True], {"top": 3}, None]
)
def test_wrong_filters(spec: Any):
    with pytest.raises(ConfigError, match=r"^explainer\.filters=.*: expected a number of filters"):
        build_plugin("explainer", "feature_maps", filters=spec)


def test_a_filter_that_a_layer_does_not_have():
    with pytest.raises(ConfigError, match=r"explainer.filters=8: input has 8 filters, numbered from 0"):
        select_filters([1, 8], PIXELS, 8)
