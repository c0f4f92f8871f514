"""Extremal perturbations against formulas written in loops, and against a network whose only evidence is a patch."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fervis
from fervis.explainers.perturbation.extremal_perturbation import blur_pyramid, blurred
from fervis.explainers.perturbation.smooth_masks import SmoothMasks, SmoothMaximum, area_loss
from fervis.metrics.gaussian import gaussian_blur


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def literal_mask(parameters: Tensor, height: int, width: int, step: int, sigma: float) -> Tensor:
    """The mask with its margin, pixel by pixel: the smooth maximum over a window of parameters, 0 outside the grid."""
    padding, radius = 1 + math.ceil(2 * sigma / step), 1 + math.ceil(sigma / step)
    grid = (math.ceil(height / step), math.ceil(width / step))
    sides = [step * (size + 2 * padding - 2 * radius) - step + 1 for size in grid]
    mask = torch.zeros(*sides)
    for y in range(sides[0]):
        for x in range(sides[1]):
            values = []
            for down in range(2 * radius + 1):
                for across in range(2 * radius + 1):
                    row, column = y // step + down - padding, x // step + across - padding
                    distance = math.hypot(y - sigma - step * row, x - sigma - step * column)
                    inside = 0 <= row < grid[0] and 0 <= column < grid[1]
                    value = float(parameters[row, column]) if inside else 0.0
                    values.append(math.exp(-2 * max(0.0, distance / sigma - 0.5) ** 2) * value)
            total = sum(math.exp(20 * value) for value in values)
            mask[y, x] = sum(value * math.exp(20 * value) / total for value in values)
    return mask


@pytest.mark.parametrize(
    ("height", "width", "step", "sigma"), [(8, 8, 2, 3.0), (7, 9, 2, 2.0), (6, 5, 1, 1.5), (9, 9, 3, 4.0)]
)
def test_masks_are_the_smooth_maximum_of_the_parameters_around(height: int, width: int, step: int, sigma: float):
    generate = SmoothMasks(height, width, step, sigma)
    parameters = noise(2, *generate.grid)
    masks, whole = generate(parameters)
    margin = round(sigma)
    for number in range(2):
        expected = literal_mask(parameters[number], height, width, step, sigma)
        torch.testing.assert_close(whole[number], expected, rtol=0, atol=1e-5)
        torch.testing.assert_close(masks[number], expected[margin : margin + height, margin : margin + width])
    assert masks.shape == (2, height, width)


def test_the_gradient_of_the_smooth_maximum_is_that_of_finite_differences():
    values, weights = noise(5, 3).double().requires_grad_(), noise(5, 4, seed=1).double()
    assert torch.autograd.gradcheck(SmoothMaximum.apply, (values, weights))


def test_the_area_loss_is_the_distance_from_a_sorted_mask_of_ones_and_zeros():
    masks = noise(3, 4, 5)
    for mask, found in zip(masks, area_loss(masks, 0.3), strict=True):
        ordered = sorted(mask.flatten().tolist())
        expected = sum((value - (index >= int(20 * 0.7))) ** 2 for index, value in enumerate(ordered)) / 20
        assert float(found) == pytest.approx(expected, rel=1e-5)
    exact = torch.zeros(1, 4, 5)
    exact[0, :2, :3] = 1
    assert float(area_loss(exact, 0.3)) == 0


def test_a_mask_blurs_between_the_two_nearest_levels():
    images, masks = noise(2, 3, 12, 12), noise(2, 12, 12, seed=1)
    masks[0, 0, :2] = torch.tensor([0.0, 1.0])
    pyramid = blur_pyramid(images, 5, 2.0)
    found = blurred(pyramid, masks)
    torch.testing.assert_close(pyramid[:, 0], gaussian_blur(images, 2.0))
    torch.testing.assert_close(pyramid[:, 1], gaussian_blur(images, 1.5))
    assert torch.equal(pyramid[:, 4], images)
    for number in range(2):
        for y in range(12):
            for x in range(12):
                level = float(masks[number, y, x]) * 4
                low = min(int(level), 3)
                between = pyramid[number, low, :, y, x] * (low + 1 - level) + pyramid[number, low + 1, :, y, x] * (
                    level - low
                )
                torch.testing.assert_close(found[number, :, y, x], between, rtol=1e-4, atol=1e-5)


class Patch(nn.Module):
    """A class per patch: its logit is the contrast there, which a blur takes away, and depends on nothing else."""

    def __init__(self, corners: list[tuple[int, int]], side: int = 8, size: int = 24) -> None:
        super().__init__()
        self.edges = nn.Conv2d(1, 1, 3, padding=1, bias=False)
        self.edges.weight.data = torch.tensor([[0.0, -1, 0], [-1, 4, -1], [0, -1, 0]])[None, None]
        self.where = torch.zeros(len(corners), size, size)
        for number, (top, left) in enumerate(corners):
            self.where[number, top : top + side, left : left + side] = 1 / side**2

    def forward(self, images: Tensor) -> Tensor:
        return 400 * torch.einsum("nhw,khw->nk", self.edges(images)[:, 0].abs(), self.where)


@pytest.mark.parametrize("variant", ["preserve", "delete"])
def test_it_finds_the_patch_that_holds_all_evidence(variant: str):
    model, images = Patch([(3, 3), (12, 13)]), noise(1, 1, 24, 24)
    knobs: dict[str, Any] = {"area": 0.15, "steps": 250, "flip": False, "variant": variant}
    found = fervis.explain(model, images, "extremal_perturbation", target="all", **knobs)
    assert found.scores is not None
    with torch.no_grad():
        whole = model(images)[0]
    for entry, mask in enumerate(found.maps):
        patch = model.where[entry] > 0
        assert float(mask[patch].mean()) > 0.9
        assert float(mask[~patch].mean()) < 0.25
        share = found.scores["logit"][entry] / whole[entry]
        assert share > 0.95 if variant == "preserve" else share < 0.05
    assert ((found.maps >= 0) & (found.maps <= 1)).all()
    torch.testing.assert_close(found.scores["area"], found.maps.mean((1, 2)))
    assert float(found.scores["area"].max()) < 0.3


def test_a_mirrored_view_is_looked_at_too():
    model, images = Patch([(3, 3)]), noise(1, 1, 24, 24)
    still, mirrored = (
        fervis.explain(model, images, "extremal_perturbation", target=0, steps=120, flip=flip).maps[0]
        for flip in (False, True)
    )
    left, right = model.where[0] > 0, model.where[0].flip(1) > 0
    assert float(still[right].mean()) < 0.6 * float(still[left].mean())
    assert float(mirrored[right].mean()) > 0.9 * float(mirrored[left].mean())
