"""Random patches of a face, and the scores of hidden parts against a literal loop."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fervis.core.targets import class_targets
from fervis.models.hiding import blurred_twice, hidden_scores, patch_order, stand_in
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


def test_what_stands_in_is_the_mean_or_the_blurred_image(generator: torch.Generator):
    images = torch.rand(2, 3, 8, 8, generator=generator)
    torch.testing.assert_close(stand_in(images, "mean", 5)[1, 2, 0, 0], images[1, 2].mean())
    assert torch.equal(stand_in(images, "blur", 5), blurred_twice(images, 5))
