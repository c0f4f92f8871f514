"""Curves: the target while pixels are hidden or shown in the order of a map."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from fervis.models.batch import Batch
from fervis.models.masking import masked_passes, masks_per_pass

Stages = Callable[[int, int], Iterable[Tensor]]


def target_curves(batch: Batch, stages: Stages, output: str = "probability") -> Tensor:
    """Return [N,T,S] the explained output of S changed images per image and target.

    The images of one map are computed together and those of another apart, so that a score does not depend on the
    other maps to the last bit.

    Args:
        batch: N images with T targets each.
        stages: position of the image, position of the target -> chunks [s,C,H,W] of the changed images.
        output: ``probability`` or ``logit``.
    """
    curves: list[Tensor] = []
    with masked_passes(batch.model, batch.images, batch.targets, output=output) as scores:
        for number in range(len(batch)):
            for target in range(batch.targets.count):
                values = scores.images(stages(number, target))
                curves.append(values[:, scores.columns(number, values)[target]])
    return torch.stack(curves).unflatten(0, (len(batch), -1))


def hidden_in_order(batch: Batch, ranks: Tensor, counts: Tensor, fill: Tensor, *, shows: bool = False) -> Stages:
    """Return the stages in which more and more pixels are hidden, or shown.

    Args:
        batch: N images with T targets each.
        ranks: [N,T,H,W] int64, the order in which pixels are taken, from 0.
        counts: [S] at each stage the pixels of a lower rank are taken.
        fill: [N,C,H,W] what stands in for hidden pixels.
        shows: pixels are shown on the fill, or hidden in the image.
    """
    size = masks_per_pass(*batch.images.shape[2:])
    counts = counts.to(batch.images.device)[:, None, None, None]

    def stages(number: int, target: int) -> Iterator[Tensor]:
        image, other, order = batch.images[number], fill[number], ranks[number, target][None]
        taken, left = (image, other) if shows else (other, image)
        for some in counts.split(size):
            yield torch.where(order < some, taken, left)

    return stages


def descending_ranks(values: Tensor) -> Tensor:
    """Return the rank of each value [...,P] in its row, 0 for the highest; of equal ones the first comes first."""
    order = values.argsort(dim=-1, descending=True, stable=True)
    numbers = torch.arange(values.shape[-1], device=values.device).expand_as(order)
    return torch.empty_like(order).scatter_(-1, order, numbers)


def pixel_ranks(maps: Tensor) -> Tensor:
    """Return the ranks [N,T,H,W] of the pixels of maps, 0 for the highest value."""
    return descending_ranks(maps.flatten(2)).unflatten(2, maps.shape[2:])


def equal_parts(count: int, steps: int) -> Tensor:
    """Return [steps+1] int64 how many of ``count`` are taken after 0, 1, ... parts of equal size."""
    return torch.linspace(0, count, steps + 1, dtype=torch.float64).round().long()


def constant_fill(images: Tensor, fill: Any) -> Tensor:
    """Return images [N,C,H,W] of one value, or with ``fill="mean"`` of the mean of each image and channel."""
    if fill == "mean":
        return images.mean((2, 3), keepdim=True).expand_as(images)
    return torch.full_like(images, float(fill))


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
    counts = equal_parts(maps[0, 0].numel(), steps)
    curves = target_curves(batch, hidden_in_order(batch, pixel_ranks(maps), counts, fill, shows=shows))
    return torch.trapezoid(curves, dx=1 / steps)
