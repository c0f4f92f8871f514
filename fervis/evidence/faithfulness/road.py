"""ROAD: does the target fall more as marked pixels are imputed than as others are (Rong et al. 2022)?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from fervis.core.knobs import Choice, Range, Whole
from fervis.evidence.faithfulness.curves import pixel_ranks, target_curves
from fervis.evidence.protocol import ExplainAgain
from fervis.models.batch import Batch
from fervis.models.imputation import linear_imputation
from fervis.models.masking import masks_per_pass


@dataclass
class Road:
    """Measure what removing pixels costs the target, by noisy linear imputation (arXiv:2202.00449).

    Imputed pixels follow their neighbours, so that neither an edge of the mask nor a value far from the data reveals
    what was removed. The score is half the difference of the target after removing the least relevant and the most
    relevant pixels first, averaged over the shares removed.

    Attributes:
        steps: shares of pixels that are removed: 1, 2, ... times ``1 / (steps + 1)``.
        noise: standard deviation of what is added to imputed pixels.
        output: what is read.
    """

    steps: Annotated[int, Whole(1, 100)] = 9
    noise: Annotated[float, Range(0, 1)] = 0.01
    output: Annotated[str, Choice("probability", "logit")] = "probability"
    better: ClassVar = "higher"
    needs: ClassVar = frozenset()

    def measure(self, batch: Batch, maps: Tensor, again: ExplainAgain) -> dict[str, Tensor]:
        """Return the score [N,T], and the mean output with the most (morf) or least (lerf) relevant removed."""
        images, ranks = batch.images, pixel_ranks(maps)
        pixels = maps.shape[2] * maps.shape[3]
        shares = torch.arange(1, self.steps + 1, dtype=torch.float64) / (self.steps + 1)
        counts = (shares * pixels).round().long().to(maps.device)[:, None, None]
        draws = torch.randn(images.shape[1:], generator=batch.generator("evidence/road")).to(images)
        size = masks_per_pass(*images.shape[2:])

        def stages(number: int, target: int) -> Iterator[Tensor]:
            order = ranks[number, target][None]
            for removed in torch.cat([order < counts, order >= pixels - counts]).split(size):
                imputed = linear_imputation(images[number], removed)
                yield torch.addcmul(imputed, removed[:, None].to(imputed), draws, value=self.noise)

        most, least = target_curves(batch, stages, self.output).unflatten(2, (2, -1)).mean(3).unbind(2)
        return {"": (least - most) / 2, "morf": most, "lerf": least}
