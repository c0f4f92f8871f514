"""Insertion: how fast the target rises when the pixels that a map marks most are shown first (Petsiuk et al. 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import Tensor
from torch.nn import functional as F

from fervis.core.knobs import Whole
from fervis.evidence.faithfulness.curves import area_under_curve
from fervis.evidence.protocol import ExplainAgain
from fervis.models.batch import Batch


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


def blurred_twice(images: Tensor, side: int) -> Tensor:
    """Return images [N,C,H,W] averaged twice over boxes of an odd side, at the border over what is inside."""
    side -= 1 - side % 2
    for _ in range(2):
        images = F.avg_pool2d(images, side, 1, side // 2, count_include_pad=False)
    return images
