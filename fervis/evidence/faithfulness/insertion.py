"""Insertion: how fast the target rises when the pixels that a map marks most are shown first (Petsiuk et al. 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import Tensor

from fervis.core.knobs import Whole
from fervis.evidence.faithfulness.curves import area_under_curve
from fervis.evidence.protocol import ExplainAgain
from fervis.models.batch import Batch
from fervis.models.hiding import blurred_twice


@dataclass
class Insertion:
    """Measure the area under the insertion curve; the larger, the more the marked pixels alone make the target.

    Attributes:
        steps: parts in which the pixels are shown.
        blur: side in pixels, odd, of the box over which hidden pixels are averaged (twice), so that no new edges arise.
    """

    steps: Annotated[int, Whole(1, 10_000)] = 24
    blur: Annotated[int, Whole(1, 101)] = 11
    better: ClassVar = "higher"
    needs: ClassVar = frozenset()

    def measure(self, batch: Batch, maps: Tensor, again: ExplainAgain) -> dict[str, Tensor]:
        """Return the area [N,T] in [0, 1]."""
        return {"": area_under_curve(batch, maps, blurred_twice(batch.images, self.blur), self.steps, shows=True)}
