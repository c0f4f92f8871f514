"""Pointing game: does a map's highest value lie where the evidence is known to be (Zhang et al. 2018)?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from fervis.errors import RunError
from fervis.evidence.protocol import ExplainAgain
from fervis.models.batch import Batch


@dataclass
class PointingGame:
    """Measure hits of the highest value (arXiv:1608.00507, without a margin) and the evidence's own share of pixels."""

    better: ClassVar = "higher"
    needs: ClassVar = frozenset({"truth"})

    def measure(self, batch: Batch, maps: Tensor, again: ExplainAgain) -> dict[str, Tensor]:
        """Return hits [N,T], 1 or 0; of several highest values the share that hits. NaN for images without evidence."""
        if batch.truth is None:
            raise RunError("evidence=pointing_game: the data set does not know which pixels matter.")
        evidence = batch.truth.evidence.to(maps.device).flatten(1)[:, None]
        flat = maps.flatten(2)
        highest = (flat == flat.amax(2, keepdim=True)).double()
        hits = (highest * evidence).sum(2) / highest.sum(2)
        known = evidence.any(2)
        chance = evidence.double().mean(2).expand_as(hits)
        return {"": hits.where(known, float("nan")), "chance": chance.where(known, float("nan"))}
