"""Random patches of a face, and the scores of hidden parts against a literal loop."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fervis.core.targets import class_targets
from fervis.models.hiding import blurred_twice, fills_of, hidden_scores, patch_order
from fervis.models.masking import masked_passes


@pytest.fixture
def face() -> Tensor:
    """Two faces of 6 x 6 pixels within 8 x 8."""
    inside = torch.zeros(2, 8, 8, dtype=torch.bool)
    inside[:, 1:7, 1:7] = True
    return inside


def test_patches_have_the_area_and_lie_on_the_face(face: Tensor):
    order = patch_order(face, torch.tensor([0.0, 0.5, 0.999]))
    for area in (1, 5, 36):
        patches = order < area
        assert patches.sum((2, 3)).unique().tolist() == [area]
        assert not (patches & ~face[:, None]).any()
    assert order[0, 0, 1, 1] == 0  # the first pixel of the face
    assert order[0, 2, 6, 6] == 0  # the last


def test_regions_and_patches_are_hidden_one_by_one(face: Tensor, generator: torch.Generator):
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    image, fill = torch.rand(1, 8, 8, generator=generator), torch.tensor([[[0.25]]])
    masks = torch.zeros(2, 8, 8, dtype=torch.bool)
    masks[0, 2:4, 2:5] = True
    masks[1, 5, 5] = True
    (order, _) = patch_order(face, torch.tensor([0.2, 0.7, 0.9]))
    with masked_passes(model, image[None], class_targets([0]), output="logit") as passes:
        whole, without, patched = hidden_scores(passes, image, masks, order, fill)
    with torch.no_grad():
        torch.testing.assert_close(whole, model(image[None])[0])
        for region, mask in enumerate(masks):
            torch.testing.assert_close(without[region], model(torch.where(mask, fill, image)[None])[0])
            for draw in range(3):
                patch = order[draw] < int(mask.sum())
                torch.testing.assert_close(patched[draw, region], model(torch.where(patch, fill, image)[None])[0])


def test_hidden_pixels_are_replaced_by_the_mean_or_the_blurred_image(generator: torch.Generator):
    images = torch.rand(2, 3, 8, 8, generator=generator)
    mean, blurred = fills_of(images, "mean", 5)[1], fills_of(images, "blur", 5)
    assert mean is not None
    torch.testing.assert_close(mean[2, 0, 0], images[1, 2].mean())
    assert blurred[1] is not None
    assert torch.equal(blurred[1], blurred_twice(images, 5)[1])


def test_a_slope_is_imputed_from_around_exactly(face: Tensor):
    """Inside the image a linear slope is the weighted mean of its neighbours, so hiding a part of it costs nothing."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).double()
    slope = (torch.arange(8.0)[:, None] * 0.1 - torch.arange(8.0) * 0.03 + 0.4)[None].double()
    masks = torch.zeros(1, 8, 8, dtype=torch.bool)
    masks[0, 2:5, 3:6] = True
    order = patch_order(face, torch.tensor([0.5]))[0]
    with masked_passes(model, slope[None], class_targets([0]), output="logit") as passes:
        whole, without, _ = hidden_scores(passes, slope, masks, order, fills_of(slope[None], "inpaint", 1)[0])
        _, by_mean, _ = hidden_scores(passes, slope, masks, order, fills_of(slope[None], "mean", 1)[0])
    torch.testing.assert_close(without[0], whole, rtol=1e-6, atol=1e-6)
    assert (by_mean[0] - whole).abs().max() > 1e-3
