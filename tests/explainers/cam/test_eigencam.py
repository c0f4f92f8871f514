"""Eigen-CAM against torch's singular value decomposition of one image at a time, and its sign.

pytorch-grad-cam 1.5.7 subtracts each channel's mean first, which arXiv:2008.00299 does not, because without "the image
returned is negative": the sign of a singular vector is the decomposition's own. It stays so with the mean subtracted:
permuting the channels, which is the same network, flips its map in 16 of 20 draws.
"""

from __future__ import annotations

import pytest
import torch
from support.convolutions import SmallNet, activations_and_gradients, activations_at, noise, one_hot, seeded
from torch import Tensor

import fervis
from fervis.explainers.cam.eigencam import first_component


def by_svd(values: Tensor, center: bool) -> Tensor:
    """Project [c,h,w] on the first right singular vector of its positions by channels, the largest value positive."""
    matrix = values.double().flatten(1).T
    matrix = matrix - matrix.mean(0) if center else matrix
    _, _, right = torch.linalg.svd(matrix, full_matrices=False)
    projection = matrix @ right[0]
    projection = projection if projection.max() >= -projection.min() else -projection
    return projection.reshape(values.shape[1:])


@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("shape", [(3, 4, 5, 6), (3, 40, 3, 4)])  # more positions than channels, and fewer
def test_it_is_the_first_component_of_each_image(shape: tuple[int, ...], center: bool):
    values = noise(*shape) - 0.4
    expected = torch.stack([by_svd(one, center) for one in values])
    torch.testing.assert_close(first_component(values, center).double(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("center", [False, True])
def test_the_order_of_the_channels_does_not_matter(center: bool):
    values = noise(2, 16, 5, 5) - 0.5
    expected = first_component(values, center)
    for seed in range(20):
        order = torch.randperm(16, generator=torch.Generator().manual_seed(seed))
        torch.testing.assert_close(first_component(values[:, order], center), expected, rtol=0, atol=1e-5)


def test_nothing_has_no_component():
    assert torch.equal(first_component(torch.zeros(2, 3, 4, 4)), torch.zeros(2, 4, 4))


def test_it_shows_the_layer_whatever_the_target_unless_weighted_by_the_gradient():
    model, images = seeded(SmallNet), noise(2, 1, 10, 10)
    found = fervis.explain(model, images, "eigencam", "conv2", "all", rectify=False)
    outputs, _ = activations_at(model, images, "conv2")
    expected = torch.stack([by_svd(one.detach(), False) for one in outputs for _ in range(4)])
    resized = torch.nn.functional.interpolate(expected[:, None], (10, 10), mode="bilinear")[:, 0]
    torch.testing.assert_close(found.maps.double(), resized, rtol=0, atol=1e-5)
    assert found.signed

    weighted = fervis.explain(model, images, "eigencam", "relu1", 2, gradient=True)
    pairs = activations_and_gradients(model, images, "relu1", one_hot(2, 4))
    expected = torch.stack([by_svd(a * g, False) for a, g in pairs]).clamp(min=0)
    torch.testing.assert_close(weighted.maps.double(), expected, rtol=0, atol=1e-5 * float(expected.max()))
