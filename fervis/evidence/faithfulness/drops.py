"""Drops: how far the target falls where the same parts of every image are changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain

import torch
from torch import Tensor

from fervis.models.batch import Batch
from fervis.models.masking import fill_masked, masked_passes, masks_per_pass

Changes = Callable[[int], Iterable[Tensor]]


def output_drops(batch: Batch, changes: Changes, output: str) -> Tensor:
    """Return [N,T,S] the output of each image less that of S changed ones, in passes that all targets share.

    Args:
        batch: N images with T targets each.
        changes: position of the image -> chunks [s,C,H,W] of the changed images.
        output: ``probability`` or ``logit``.
    """
    drops: list[Tensor] = []
    with masked_passes(batch.model, batch.images, batch.targets, output=output) as scores:
        for number, image in enumerate(batch.images):
            values = scores.images(chain([image[None]], changes(number)))
            explained = values[:, scores.columns(number, values)]
            drops.append((explained[0] - explained[1:]).T)
    return torch.stack(drops)


def hidden_alike(batch: Batch, hidden: Tensor, fill: Tensor) -> Changes:
    """Return the changes by which each of S sets of pixels is hidden.

    Args:
        batch: N images.
        hidden: [S,H,W] bool, the sets.
        fill: [N,C,H,W] what stands in for hidden pixels.
    """
    size = masks_per_pass(*batch.images.shape[2:])
    seen = (~hidden).to(batch.images)

    def changes(number: int) -> Iterator[Tensor]:
        for some in seen.split(size):
            yield fill_masked(batch.images[number], some, fill[number])

    return changes


def mass_in(maps: Tensor, weights: Tensor) -> Tensor:
    """Return [N,T,S] float64 the sums of maps [N,T,H,W] under each of S weights or sets [S,H,W], on the CPU."""
    return maps.flatten(2).double().cpu() @ weights.flatten(1).double().cpu().T


def pearson(first: Tensor, second: Tensor) -> Tensor:
    """Return the correlation [...] of values [...,S]; NaN where either is constant but for rounding."""
    x, y = (values.double() - values.double().mean(-1, keepdim=True) for values in (first, second))
    spread = (x.square().sum(-1) * y.square().sum(-1)).sqrt()
    varies = torch.stack([_varies(first), _varies(second)]).all(0)
    return ((x * y).sum(-1) / spread).clamp(-1, 1).where(varies, float("nan"))


def _varies(values: Tensor) -> Tensor:
    low, high = values.amin(-1), values.amax(-1)
    return high - low > 1e-6 * torch.maximum(low.abs(), high.abs())
