"""Entropy: how evenly a map's magnitudes are spread over the pixels (Bhatt et al. 2020, arXiv:2005.00631)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fervis.evidence.protocol import ExplainAgain
from fervis.models.batch import Batch


@dataclass
class Entropy:
    """Measure the entropy of the magnitudes as shares of their sum; the paper's complexity, in nats."""

    better: ClassVar = "neither"
    needs: ClassVar = frozenset()

    def measure(self, batch: Batch, maps: Tensor, again: ExplainAgain) -> dict[str, Tensor]:
        """Return the entropy [N,T]: 0 where one pixel has everything, log of the pixels' number where all are equal.

        A map of zeros counts as one of equal values.
        """
        magnitudes = maps.flatten(2).abs().double()
        total = magnitudes.sum(2, keepdim=True)
        shares = torch.where(total > 0, magnitudes / total.where(total > 0, 1.0), 1 / magnitudes.shape[2])
        return {"": -torch.special.xlogy(shares, shares).sum(2)}
