"""Agreement of a map with the exact attribution, for networks with hand-set weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fervis.errors import ConfigError
from fervis.evidence.protocol import ExplainAgain
from fervis.models.batch import Batch


@dataclass
class TrueAttribution:
    """Measure the cosine of map and truth, 1 only for the truth times a positive number, and that of their magnitudes.

    ``unsigned`` is for methods whose maps have no sign. A map of zeros has the agreement 0.
    """

    better: ClassVar = "higher"
    needs: ClassVar = frozenset({"truth"})

    def measure(self, batch: Batch, maps: Tensor, again: ExplainAgain) -> dict[str, Tensor]:
        """Return the cosine [N,T] with the attribution of each target, and ``unsigned``; NaN where no pixel matters.

        Raises:
            ConfigError: the data set has no exact attribution, or the network has another number of classes.
        """
        known = batch.truth and batch.truth.attribution
        if known is None or batch.targets.classes is None or len(batch.classes) != 2:
            raise ConfigError(
                "evidence=true_attribution: it compares with the exact attribution of two classes; ask with "
                "dataset=hand_set model=hand_set."
            )
        sign = batch.targets.classes.to(maps.device).double() * 2 - 1  # the first logit is the negative of the second
        truth = known.to(maps.device).double().flatten(1)[:, None] * sign[..., None]
        given = maps.double().flatten(2)
        matters = truth.any(2)
        agreement = {"": (given, truth), "unsigned": (given.abs(), truth.abs())}
        return {
            name: torch.cosine_similarity(*pair, dim=2).where(matters, torch.nan) for name, pair in agreement.items()
        }
