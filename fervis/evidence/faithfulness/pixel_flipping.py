"""Pixel flipping: how far the target falls on average as marked pixels or regions are perturbed (Bach et al. 2015)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from fervis.core.knobs import Choice, Number, Range, Whole
from fervis.evidence.faithfulness.curves import (
    constant_fill,
    descending_ranks,
    equal_parts,
    hidden_in_order,
    target_curves,
)
from fervis.evidence.protocol import ExplainAgain
from fervis.models.batch import Batch


@dataclass
class PixelFlipping:
    """Measure the area over the perturbation curve (AOPC); the larger, the more hangs on what the map marks.

    It is the mean over k from 0 to L of f(x) - f(x with the first k regions perturbed), where regions come in the order
    of the map's sum inside them (Samek et al. 2017, arXiv:1509.06321, eq. 12). Regions of one pixel are the pixel
    flipping of Bach et al. 2015 (doi:10.1371/journal.pone.0130140).

    Attributes:
        region: side of the square regions in pixels; those at the right and lower border may be smaller.
        steps: L, parts of equal size in which the regions are perturbed.
        share: of the regions that are perturbed in the end.
        fill: value of perturbed pixels; ``mean`` of the image, or ``uniform`` noise over the image's range.
        output: what falls.
    """

    region: Annotated[int, Whole(1, 1024)] = 1
    steps: Annotated[int, Whole(1, 10_000)] = 24
    share: Annotated[float, Range(0, 1, open_low=True)] = 1.0
    fill: Annotated[Any, Choice("mean", "uniform") | Number()] = 0.0
    output: Annotated[str, Choice("probability", "logit")] = "probability"
    better: ClassVar = "higher"
    needs: ClassVar = frozenset()

    def measure(self, batch: Batch, maps: Tensor, again: ExplainAgain) -> dict[str, Tensor]:
        """Return the area [N,T], in units of the output; in [-1, 1] of a probability."""
        regions = _regions(maps.shape[2], maps.shape[3], self.region).to(maps.device)
        count = int(regions.max()) + 1
        sums = torch.zeros(*maps.shape[:2], count, dtype=torch.float64, device=maps.device)
        sums.index_add_(2, regions.flatten(), maps.flatten(2).double())
        ranks = descending_ranks(sums)[..., regions]
        counts = equal_parts(max(1, round(self.share * count)), self.steps)
        curves = target_curves(batch, hidden_in_order(batch, ranks, counts, self._fill(batch)), self.output)
        return {"": (curves[..., :1] - curves).mean(-1)}

    def _fill(self, batch: Batch) -> Tensor:
        """Return [N,C,H,W] what stands in for perturbed pixels; the noise is the same for every image but its range."""
        images = batch.images
        if self.fill != "uniform":
            return constant_fill(images, self.fill)
        draws = torch.rand(images.shape[1:], generator=batch.generator("evidence/pixel_flipping")).to(images)
        low, high = images.amin((1, 2, 3), keepdim=True), images.amax((1, 2, 3), keepdim=True)
        return low + (high - low) * draws


def _regions(height: int, width: int, side: int) -> Tensor:
    """[H,W] int64, the number of each pixel's region, row by row."""
    rows, columns = torch.arange(height) // side, torch.arange(width) // side
    return rows[:, None] * (int(columns.max()) + 1) + columns
