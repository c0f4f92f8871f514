"""Average drop: how much of the target is lost when only what a map marks is seen (Chattopadhay et al. 2018)?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from fervis.core.knobs import Choice
from fervis.evidence.faithfulness.curves import target_curves
from fervis.evidence.protocol import ExplainAgain
from fervis.models.batch import Batch


@dataclass
class AverageDrop:
    """Measure the share of the target's output that is lost when the image is multiplied by the map.

    Chattopadhay et al. 2018 (arXiv:1710.11063), section 4.1: max(0, Y - O) / Y, where Y is the output for the image and
    O for the image times the map. Of the map only positive values count, and it is divided by the largest. ``increase``
    is 1 where O is above Y: its mean is the paper's increase in confidence.

    Attributes:
        output: Y and O; a logit that is not positive has no share to lose.
    """

    output: Annotated[str, Choice("probability", "logit")] = "probability"
    better: ClassVar = "lower"
    needs: ClassVar = frozenset()

    def measure(self, batch: Batch, maps: Tensor, again: ExplainAgain) -> dict[str, Tensor]:
        """Return the drop [N,T], of a probability in [0, 1], and ``increase``, 1 or 0; NaN where Y is not positive."""
        positive = maps.clamp(min=0)
        largest = positive.amax((2, 3), keepdim=True)
        shown = torch.where(largest > 0, positive / largest, 0.0)

        def stages(number: int, target: int) -> list[Tensor]:
            image = batch.images[number]
            return [torch.stack([image, image * shown[number, target].to(image)])]

        before, after = target_curves(batch, stages, self.output).unbind(2)
        drop = torch.where(before > 0, (before - after).clamp(min=0) / before, float("nan"))
        return {"": drop, "increase": (after > before).float()}
