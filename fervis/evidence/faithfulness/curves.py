"""Deletion and insertion curves: the target while pixels are hidden or shown in the order of a map."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from fervis.models.batch import Batch
from fervis.models.masking import MASKS_PER_CHUNK, masked_passes


def area_under_curve(batch: Batch, maps: Tensor, fill: Tensor, steps: int, *, shows: bool) -> Tensor:
    """Return the area [N,T] under the target's probability while pixels are hidden or shown, highest first.

    The pixels are taken in ``steps`` equal parts; the area is by the trapezoid rule over the share of pixels, from 0
    to 1, as in Petsiuk, Das and Saenko (2018, arXiv:1806.07421).

    Args:
        batch: N images with T targets each.
        maps: [N,T,H,W]; pixels of equal value are taken in the order of the image.
        fill: [N,C,H,W] what stands in for hidden pixels.
        steps: how many parts.
        shows: pixels are shown on the fill (insertion), or hidden in the image (deletion).
    """
    areas = torch.zeros(len(batch), batch.targets.count)
    with masked_passes(batch.model, batch.images, batch.targets, output="probability") as scores:
        for number, image in enumerate(batch.images):
            for target in range(batch.targets.count):
                values = scores(image, _ordered_masks(maps[number, target], steps, shows), fill[number])
                column = scores.columns(number, values)[target]
                areas[number, target] = torch.trapezoid(values[:, column], dx=1 / steps)
    return areas


def _ordered_masks(one: Tensor, steps: int, shows: bool) -> Iterator[Tensor]:
    """Masks [steps+1,H,W], 1 where the image is seen, of which each takes one part of the pixels more."""
    ranks = torch.empty(one.numel(), dtype=torch.int64)
    ranks[one.flatten().cpu().argsort(descending=True, stable=True)] = torch.arange(one.numel())
    taken = torch.linspace(0, one.numel(), steps + 1).round().long()
    seen = (ranks[None] < taken[:, None]) == shows
    yield from seen.to(one).unflatten(1, one.shape).split(MASKS_PER_CHUNK)
