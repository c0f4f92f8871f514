"""Deletion: how fast the target falls when the pixels that a map marks most are hidden first (Petsiuk et al. 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import Tensor

from fervis.core.knobs import Range, Whole
from fervis.evidence.faithfulness.curves import area_under_curve, constant_fill
from fervis.evidence.protocol import ExplainAgain
from fervis.models.batch import Batch


@dataclass
class Deletion:
    """Measure the area under the deletion curve; the smaller, the more the target hangs on what the map marks.

    Attributes:
        steps: parts in which the pixels are hidden.
        fill: value of hidden pixels.
    """

    steps: Annotated[int, Whole(1, 10_000)] = 24
    fill: Annotated[float, Range(0, 1)] = 0.0
    better: ClassVar = "lower"
    needs: ClassVar = frozenset()

    def measure(self, batch: Batch, maps: Tensor, again: ExplainAgain) -> dict[str, Tensor]:
        """Return the area [N,T] in [0, 1]."""
        return {"": area_under_curve(batch, maps, constant_fill(batch.images, self.fill), self.steps, shows=False)}
