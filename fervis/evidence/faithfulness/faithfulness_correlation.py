"""Faithfulness correlation: does a set of pixels matter as much as the sum of its values (Bhatt et al. 2020)?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from fervis.core.knobs import Choice, Number, Range, Whole
from fervis.evidence.faithfulness.curves import constant_fill
from fervis.evidence.faithfulness.drops import hidden_alike, mass_in, output_drops, pearson
from fervis.evidence.protocol import ExplainAgain
from fervis.models.batch import Batch


@dataclass
class FaithfulnessCorrelation:
    """Measure the correlation of a map's sums over random sets of pixels with what hiding them costs the target.

    Bhatt, Weller and Moura 2020 (arXiv:2005.00631), eq. 1. The sets are the same for all images and targets.

    Attributes:
        subsets: number of random sets.
        share: of the pixels, in each set.
        fill: value of hidden pixels, or ``mean`` of the image.
        output: what falls.
    """

    subsets: Annotated[int, Whole(3, 100_000)] = 100
    share: Annotated[float, Range(0, 1, open_low=True, open_high=True)] = 0.2
    fill: Annotated[Any, Choice("mean") | Number()] = 0.0
    output: Annotated[str, Choice("probability", "logit")] = "logit"
    better: ClassVar = "higher"
    needs: ClassVar = frozenset()

    def measure(self, batch: Batch, maps: Tensor, again: ExplainAgain) -> dict[str, Tensor]:
        """Return the correlation [N,T] in [-1, 1]; NaN where either side is constant."""
        height, width = maps.shape[2:]
        draws = torch.rand(self.subsets, height * width, generator=batch.generator("evidence/faithfulness_correlation"))
        chosen = draws.argsort(1)[:, : max(1, round(self.share * height * width))]
        hidden = torch.zeros_like(draws, dtype=torch.bool).scatter_(1, chosen, True).unflatten(1, (height, width))
        changes = hidden_alike(batch, hidden.to(maps.device), constant_fill(batch.images, self.fill))
        return {"": pearson(mass_in(maps, hidden), output_drops(batch, changes, self.output)).float()}
