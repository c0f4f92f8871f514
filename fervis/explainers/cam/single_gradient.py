"""The passes that CAMs of one gradient share: one forward pass, and a backward pass per target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fervis.core.results import HeatMaps, LayerMaps
from fervis.explainers.cam.weighting import MAPS_OF_PASS
from fervis.models.batch import Batch


@dataclass
class SingleGradientCam:
    """Compute a CAM at any layers for any targets from one gradient each.

    Subclasses state ``method``, the function of ``MAPS_OF_PASS``, and ``unit``.

    Attributes:
        rectify: cut negative values off; without, evidence against the target is negative.
    """

    rectify: bool = True
    result: ClassVar = HeatMaps
    scope: ClassVar = "image"
    takes: ClassVar = frozenset({"layers", "classes", "filters"})
    default_layer: ClassVar = "last_conv"
    method: ClassVar[str]
    unit: ClassVar[str]

    def explain(self, batch: Batch) -> LayerMaps:
        """Explain all layers and targets of a batch in one forward pass and a backward pass per target."""
        map_of_pass = MAPS_OF_PASS[self.method]
        maps: dict[str, list[Tensor]] = {}
        for target_pass in batch.gradients():
            for name, gradients in target_pass.gradients.items():
                values = map_of_pass(target_pass.activations[name], gradients)
                maps.setdefault(name, []).append(values.relu() if self.rectify else values)
        stacked = {name: torch.stack(parts, 1) for name, parts in maps.items()}
        return LayerMaps(stacked, self.unit, signed=not self.rectify)
