"""Intersection over union of the pixels that a map marks with those that matter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import Tensor

from fervis.evidence.localization.known_pixels import MAP_PARTS, known_pixels, marking_values, where_known
from fervis.evidence.protocol import ExplainAgain
from fervis.metrics.thresholds import otsu_thresholds
from fervis.models.batch import Batch


@dataclass
class IntersectionOverUnion:
    """Measure the overlap of the pixels above a map's own threshold by Otsu with the pixels that matter.

    The threshold is computed of each map alone: none is chosen on images that are scored. Gaya-Morey et al. (2024,
    arXiv:2401.11835) score explanations of expressions so.

    Attributes:
        part: of the map that counts: ``positive`` or ``absolute``.
    """

    part: Annotated[str, MAP_PARTS] = "positive"
    better: ClassVar = "higher"
    needs: ClassVar = frozenset({"truth"})

    def measure(self, batch: Batch, maps: Tensor, again: ExplainAgain) -> dict[str, Tensor]:
        """Return the ratio [N,T] in [0, 1]; 0 for a map of equal values, NaN for images without evidence."""
        known = known_pixels(batch, maps, "iou")
        values = marking_values(maps, self.part)
        marked = values > otsu_thresholds(values.flatten(0, 1)).reshape(*values.shape[:2], 1)
        ratio = (marked & known).sum(2) / (marked | known).sum(2).clamp(min=1)
        return {"": where_known(ratio, known)}
