"""Pointing game: does a map's highest value lie where the evidence is known to be (Zhang et al. 2018)?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from fervis.evidence.localization.known_pixels import known_pixels, where_known
from fervis.evidence.protocol import ExplainAgain
from fervis.models.batch import Batch


@dataclass
class PointingGame:
    """Measure hits of the highest value (arXiv:1608.00507, without a margin) and the evidence's own share of pixels."""

    better: ClassVar = "higher"
    needs: ClassVar = frozenset({"truth"})

    def measure(self, batch: Batch, maps: Tensor, again: ExplainAgain) -> dict[str, Tensor]:
        """Return hits [N,T], 1 or 0; of several highest values the share that hits. NaN for images without evidence."""
        evidence = known_pixels(batch, maps, "pointing_game")
        flat = maps.flatten(2)
        highest = (flat == flat.amax(2, keepdim=True)).double()
        hits = (highest * evidence).sum(2) / highest.sum(2)
        chance = evidence.double().mean(2).expand_as(hits)
        return {"": where_known(hits, evidence), "chance": where_known(chance, evidence)}
