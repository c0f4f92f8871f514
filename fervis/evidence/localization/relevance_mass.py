"""Relevance mass accuracy: the share of a map on the pixels that matter (Arras et al. 2022, arXiv:2003.07258)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import Tensor

from fervis.evidence.localization.known_pixels import MAP_PARTS, known_pixels, marking_values, where_known
from fervis.evidence.protocol import ExplainAgain
from fervis.models.batch import Batch


@dataclass
class RelevanceMass:
    """Measure the sum over the pixels that matter, divided by the sum over all.

    A map of equal values reaches the share of the pixels that matter.

    Attributes:
        part: of the map that counts: ``positive`` or ``absolute``.
    """

    part: Annotated[str, MAP_PARTS] = "positive"
    better: ClassVar = "higher"
    needs: ClassVar = frozenset({"truth"})

    def measure(self, batch: Batch, maps: Tensor, again: ExplainAgain) -> dict[str, Tensor]:
        """Return the share [N,T] in [0, 1]; 0 for a map that marks nothing, NaN for images without evidence."""
        known = known_pixels(batch, maps, "relevance_mass")
        values = marking_values(maps, self.part)
        total = values.sum(2)
        share = (values * known).sum(2) / total.where(total > 0, 1.0)
        return {"": where_known(share, known)}
