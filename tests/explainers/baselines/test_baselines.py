"""Baselines: a random map that depends on seed, image and class alone; edges by scipy; a centre map in closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor, nn

import fervis
from fervis.core.targets import class_targets
from fervis.evidence.baselines import edge_map
from fervis.models.batch import Batch


@pytest.fixture
def model() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 2, 3, padding=1), nn.Flatten(), nn.Linear(2 * 12 * 9, 4))


@pytest.fixture
def images() -> Tensor:
    return torch.rand(3, 3, 12, 9, generator=torch.Generator().manual_seed(2))


def test_random_maps_are_uniform_and_each_their_own(model: nn.Module, images: Tensor):
    maps = fervis.explain(model, images, "random_map", target="all").maps
    assert len({map.numpy().tobytes() for map in maps}) == 12
    assert maps.min() >= 0
    assert maps.max() < 1
    values = maps.flatten().sort().values  # Kolmogorov and Smirnov: the largest distance from the uniform distribution
    distance = (values - torch.linspace(0, 1, len(values))).abs().max()
    assert distance < 1.95 / math.sqrt(len(values))  # passed by chance with probability 0.999


def test_a_random_map_depends_on_seed_image_and_class_alone(model: nn.Module, images: Tensor):
    maps = fervis.explain(model, images, "random_map", target=[2, 2, 0]).maps
    alone = fervis.explain(model, images[1:2], "random_map", target=[[3, 2]]).maps
    assert torch.equal(alone[1], maps[1])
    assert not torch.equal(alone[0], maps[1])
    assert not torch.equal(fervis.explain(model, images, "random_map", target=[2, 2, 0], seed=1).maps, maps)
    other = nn.Sequential(nn.Flatten(), nn.Linear(324, 4))
    assert torch.equal(fervis.explain(other, images, "random_map", target=[2, 2, 0]).maps, maps)


def test_an_edge_map_is_the_sobel_magnitude(model: nn.Module, images: Tensor):
    maps = fervis.explain(model, images, "edge_map", target=0).maps
    for image, found in zip(images.mean(1).double().numpy(), maps, strict=True):
        slopes = [ndimage.sobel(image, axis, mode="nearest") for axis in (0, 1)]
        np.testing.assert_allclose(found.numpy(), np.hypot(*slopes), atol=1e-6)
    # It is the edge map that evidence is compared with.
    batch = Batch(model, images, (), class_targets([0, 1, 2]))
    assert torch.equal(edge_map(batch)[:, 0], maps)


def test_a_centre_map_is_a_gaussian_of_the_image_alone(model: nn.Module, images: Tensor):
    maps = fervis.explain(model, images, "center_map", target=0, sigma=0.3).maps
    for i in range(12):
        for j in range(9):
            down, across = (i + 0.5 - 6) / 12, (j + 0.5 - 4.5) / 9
            expected = math.exp(-(down**2 + across**2) / (2 * 0.3**2))
            assert float(maps[2, i, j]) == pytest.approx(expected, rel=1e-5)
    assert torch.equal(maps[0], maps[1])
    torch.testing.assert_close(maps, maps.flip(1, 2))


def test_everything_is_1():
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(20, 2))
    maps = fervis.explain(model, torch.rand(3, 1, 4, 5), "everything_map", target=0).maps
    assert torch.equal(maps, torch.ones(3, 4, 5))
