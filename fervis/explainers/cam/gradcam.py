"""Grad-CAM: a layer's channels weighted by their mean gradient (Selvaraju et al. 2017, arXiv:1610.02391).

The weight of a channel is the mean over positions of the target's gradient with respect to it; the map is the rectified
weighted sum of the channels, at the layer's own grid. Evidence against the target is cut off by the rectifier, so a map
may be 0 everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fervis.core.results import HeatMaps, LayerMaps
from fervis.models.batch import Batch


@dataclass
class GradCam:
    """Compute Grad-CAM at any layers for any targets.

    Attributes:
        rectify: cut negative values off, as the paper does; without, evidence against the target is negative.
    """

    rectify: bool = True
    result: ClassVar = HeatMaps
    scope: ClassVar = "image"
    takes: ClassVar = frozenset({"layers", "classes", "filters"})
    default_layer: ClassVar = "last_conv"

    def explain(self, batch: Batch) -> LayerMaps:
        """Explain all layers and targets of a batch in one forward pass and a backward pass per target."""
        maps: dict[str, list[Tensor]] = {}
        for target_pass in batch.gradients():
            for name, gradients in target_pass.gradients.items():
                weights = gradients.mean((2, 3))
                weighted = torch.einsum("nc,nchw->nhw", weights, target_pass.activations[name])
                maps.setdefault(name, []).append(weighted.relu() if self.rectify else weighted)
        stacked = {name: torch.stack(parts, 1) for name, parts in maps.items()}
        return LayerMaps(stacked, "Σ mean gradient × activation at {layer}", signed=not self.rectify)
