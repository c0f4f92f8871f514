"""Precision of a map: the share of its highest pixels that matter (Clark et al. 2023, arXiv:2306.12816)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from fervis.evidence.localization.known_pixels import (
    known_pixels,
    marking_values,
    shares_of_highest,
    where_known,
)
from fervis.evidence.protocol import ExplainAgain
from fervis.models.batch import Batch


@dataclass
class Precision:
    """Measure the share of the n highest magnitudes, n the number of pixels that matter, that lie on such pixels.

    As in XAI-TRIS (``eval_utils.precision``) pixels of value 0 are never among them. Of equal values at the limit each
    counts in part, so that the score does not depend on their order. ``chance`` is what a random map has.
    """

    better: ClassVar = "higher"
    needs: ClassVar = frozenset({"truth"})

    def measure(self, batch: Batch, maps: Tensor, again: ExplainAgain) -> dict[str, Tensor]:
        """Return the precision [N,T] and ``chance``; NaN for images without a pixel that matters."""
        known = known_pixels(batch, maps, "precision")
        values = marking_values(maps, "absolute")
        hits = (shares_of_highest(values, known) * (known & (values > 0))).sum(2)
        chance = known.double().mean(2).expand_as(hits)
        return {"": where_known(hits / known.sum(2), known), "chance": where_known(chance, known)}
