"""Precision of a map: the share of its highest pixels that matter (Clark et al. 2023, arXiv:2306.12816)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fervis.errors import RunError
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
        if batch.truth is None or batch.truth.evidence is None:
            raise RunError("evidence=precision: the data set does not know which pixels matter.")
        matters = batch.truth.evidence.to(maps.device).flatten(1)[:, None].expand(-1, maps.shape[1], -1)
        values = maps.abs().flatten(2)
        count = matters.sum(2, keepdim=True)
        limit = values.sort(2, descending=True).values.gather(2, (count - 1).clamp(min=0))
        above, tied = values > limit, (values == limit) & (limit > 0)
        places = (count - above.sum(2, keepdim=True)).double()
        shares = above + tied * places / tied.sum(2, keepdim=True).clamp(min=1)
        known = count[..., 0] > 0
        precision = (shares * matters).sum(2) / count[..., 0]
        chance = matters.double().mean(2)
        return {"": precision.where(known, torch.nan), "chance": chance.where(known, torch.nan)}
