"""Action unit IoU: does a map lie where its own expression shows, more than where others do (Gaya-Morey et al. 2024)?

The overlap of maps with masks of the parts in which an expression shows has been published as agreement with human
experts (arXiv:2401.11835, mean 0.27). Alone it is no evidence: the same maps overlap with the masks of *other*
expressions by 0.26, and one map for all classes by 0.27. What a map of a class must do is to fit its own better.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from fervis.core.knobs import Choice
from fervis.datasets.landmarks.regions import EXPRESSIONS, expression_name, expression_units, face_regions
from fervis.evidence.protocol import ExplainAgain
from fervis.metrics.mask_overlap import overlaps
from fervis.metrics.thresholds import otsu_thresholds
from fervis.models.batch import Batch


@dataclass
class ActionUnitIou:
    """Measure the overlap with the own expression's regions beyond that with others'.

    Attributes:
        codebook: which action units make an expression: ``emfacs``, ``facs`` or ``belharbi``.
    """

    codebook: Annotated[str, Choice("emfacs", "facs", "belharbi")] = "emfacs"
    better: ClassVar = "higher"
    needs: ClassVar = frozenset()

    def measure(self, batch: Batch, maps: Tensor, again: ExplainAgain) -> dict[str, Tensor]:
        """Return ``own`` [N,T], the intersection over union with the target's own regions, and its lead.

        What a map marks is where its magnitude is above its threshold by Otsu. ``other`` is the mean over the five
        other expressions, and the score itself own - other. NaN for neutral and for what is no expression, and for
        constant maps, which mark nothing.
        """
        own = self._own(batch)
        regions = face_regions(batch.images, batch.truth)
        masks = torch.stack([regions.action_units(expression_units(name, self.codebook)) for name in EXPRESSIONS], 1)
        magnitudes = maps.cpu().abs()
        cuts = otsu_thresholds(magnitudes.flatten(0, 1).flatten(1)).reshape(maps.shape[:2])
        marked = magnitudes > cuts[..., None, None]
        values = overlaps(marked, masks)
        matched = values.gather(2, own.clamp(min=0)[..., None])[..., 0]
        matched = matched.where((own >= 0) & marked.flatten(2).any(2), torch.nan)
        other = (values.sum(2) - matched) / (len(EXPRESSIONS) - 1)
        return {"": matched - other, "own": matched, "other": other}

    def _own(self, batch: Batch) -> Tensor:
        """Positions [N,T] of the targets among the expressions, -1 for those that are none."""
        classes = batch.targets.classes
        if classes is None:
            return torch.full((len(batch), batch.targets.count), -1)
        names = [expression_name(name) for name in batch.classes]
        positions = [EXPRESSIONS.index(name) if name in EXPRESSIONS else -1 for name in names]
        positions += [-1] * max(0, int(classes.max()) + 1 - len(positions))
        return torch.tensor(positions)[classes.cpu()]
