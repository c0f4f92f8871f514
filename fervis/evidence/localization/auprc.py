"""Area under the precision-recall curve of a map's values against the pixels that matter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fervis.evidence.localization.known_pixels import known_pixels, where_known
from fervis.evidence.protocol import ExplainAgain
from fervis.models.batch import Batch


@dataclass
class AveragePrecision:
    """Measure the mean precision over all thresholds, weighted by the recall that each adds.

    A map of equal values reaches the share of the pixels that matter, and a random one about that share (Saito and
    Rehmsmeier 2015, doi:10.1371/journal.pone.0118432). Negative values rank below 0.
    """

    better: ClassVar = "higher"
    needs: ClassVar = frozenset({"truth"})

    def measure(self, batch: Batch, maps: Tensor, again: ExplainAgain) -> dict[str, Tensor]:
        """Return the average precision [N,T] in (0, 1]; NaN for images without evidence."""
        known = known_pixels(batch, maps, "auprc")
        return {"": where_known(average_precision(maps.flatten(2), known.expand(-1, maps.shape[1], -1)), known)}


def average_precision(values: Tensor, positive: Tensor) -> Tensor:
    """Return ``sum over thresholds of (recall - recall before) precision`` over the last dimension [...,P].

    Equal values share a threshold, so precision is read where a run of them ends.
    """
    ordered, order = values.sort(-1, descending=True)
    hits = positive.gather(-1, order).double().cumsum(-1)
    ends = torch.ones_like(ordered, dtype=torch.bool)
    ends[..., :-1] = ordered[..., 1:] != ordered[..., :-1]
    precision = hits / torch.arange(1, values.shape[-1] + 1, dtype=torch.float64, device=values.device)
    before = torch.zeros_like(hits)  # hits at the end of the run before
    before[..., 1:] = hits.where(ends, 0.0).cummax(-1).values[..., :-1]
    gained = (hits - before).where(ends, 0.0)
    return (gained * precision).sum(-1) / hits[..., -1].clamp(min=1)
