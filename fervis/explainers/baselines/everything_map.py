"""A map that is 1 everywhere: the claim that everything matters, which a method must be better than."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from fervis.core.layers import INPUT
from fervis.core.results import HeatMaps, LayerMaps
from fervis.models.batch import Batch


@dataclass
class EverythingMap:
    """Give every pixel of every image the value 1."""

    result: ClassVar = HeatMaps
    scope: ClassVar = "image"
    takes: ClassVar = frozenset({"pixels"})
    default_layer: ClassVar = INPUT

    def explain(self, batch: Batch) -> LayerMaps:
        """Return constant maps."""
        shape = (len(batch), batch.targets.count, *batch.images.shape[2:])
        return LayerMaps({INPUT: torch.ones(shape, device=batch.images.device)}, "1 everywhere")
