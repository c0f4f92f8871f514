"""Single deletion: are the patches that a map marks those whose deletion costs the target most (Hesse et al. 2024)?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from fervis.core.knobs import Choice, Number, Whole
from fervis.evidence.faithfulness.curves import constant_fill
from fervis.evidence.faithfulness.drops import hidden_alike, mass_in, output_drops
from fervis.evidence.protocol import ExplainAgain
from fervis.metrics.similarity import spearman
from fervis.models.batch import Batch


@dataclass
class SingleDeletion:
    """Measure the rank correlation of a map's sums in the patches of a grid with what deleting each costs the target.

    Hesse, Schaub-Meyer and Roth 2024 (arXiv:2407.11910), who train the network with deleted patches, so that images
    with one are nothing new to it; the measure is theirs for any network.

    Attributes:
        grid: patches down and across.
        fill: value of deleted pixels, or ``mean`` of the image.
        output: what falls.
    """

    grid: Annotated[int, Whole(2, 64)] = 4
    fill: Annotated[Any, Choice("mean") | Number()] = 0.0
    output: Annotated[str, Choice("probability", "logit")] = "logit"
    better: ClassVar = "higher"
    needs: ClassVar = frozenset()

    def measure(self, batch: Batch, maps: Tensor, again: ExplainAgain) -> dict[str, Tensor]:
        """Return the correlation [N,T] in [-1, 1]; NaN where either side is constant."""
        height, width = maps.shape[2:]
        rows, columns = torch.arange(height) * self.grid // height, torch.arange(width) * self.grid // width
        numbers = rows[:, None] * self.grid + columns
        patches = numbers == numbers.unique()[:, None, None]
        changes = hidden_alike(batch, patches.to(maps.device), constant_fill(batch.images, self.fill))
        drops, sums = output_drops(batch, changes, self.output), mass_in(maps, patches).to(maps.dtype)
        correlation = spearman(sums.flatten(0, 1)[:, None].cpu(), drops.flatten(0, 1)[:, None])
        return {"": correlation.unflatten(0, maps.shape[:2]).float()}
