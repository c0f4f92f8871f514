"""Relevance rank accuracy: how many of a map's K highest pixels are among the K that matter (Arras et al. 2022)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import Tensor

from fervis.evidence.localization.known_pixels import (
    MAP_PARTS,
    known_pixels,
    marking_values,
    shares_of_highest,
    where_known,
)
from fervis.evidence.protocol import ExplainAgain
from fervis.models.batch import Batch


@dataclass
class RelevanceRank:
    """Measure the share of the K highest pixels that matter, where K pixels matter (arXiv:2003.07258).

    Of pixels that are equal to the K-th highest only some fit into the K; each counts by the share that does, which is
    the mean over all orders of them. A map of equal values reaches the share of the pixels that matter.

    Attributes:
        part: of the map that counts: ``positive`` or ``absolute``.
    """

    part: Annotated[str, MAP_PARTS] = "positive"
    better: ClassVar = "higher"
    needs: ClassVar = frozenset({"truth"})

    def measure(self, batch: Batch, maps: Tensor, again: ExplainAgain) -> dict[str, Tensor]:
        """Return the share [N,T] in [0, 1]; NaN for images without evidence."""
        known = known_pixels(batch, maps, "relevance_rank")
        values = marking_values(maps, self.part)
        hits = (shares_of_highest(values, known) * known).sum(2)
        return {"": where_known(hits / known.sum(2), known)}
