"""Sparseness: the Gini coefficient of a map's magnitudes (Chalasani et al. 2020, arXiv:1810.06583)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fervis.evidence.protocol import ExplainAgain
from fervis.models.batch import Batch


@dataclass
class Sparseness:
    """Measure how unequal a map's magnitudes are: 0 where all are equal, near 1 where one pixel has everything."""

    better: ClassVar = "neither"
    needs: ClassVar = frozenset()

    def measure(self, batch: Batch, maps: Tensor, again: ExplainAgain) -> dict[str, Tensor]:
        """Return the coefficient [N,T] in [0, 1); 0 for a map of zeros."""
        return {"": gini(maps.flatten(2).abs())}


def gini(values: Tensor) -> Tensor:
    """Return the Gini coefficient over the last dimension [...,D] of values that are not negative.

    With the values in ascending order it is ``sum of (2 i - D - 1) x_i / (D sum of x_i)`` for i from 1 to D.
    """
    ordered = values.double().sort(-1).values
    count = ordered.shape[-1]
    weights = 2 * torch.arange(1, count + 1, dtype=torch.float64, device=values.device) - count - 1
    total = ordered.sum(-1)
    return torch.where(total > 0, (weights * ordered).sum(-1) / (count * total.clamp(min=1e-300)), 0.0).float()
