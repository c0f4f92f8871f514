"""Ablation-CAM: channels weighted by the fall of the target without each (Desai and Ramaswamy 2020).

A channel's weight is (y - y_k) / |y|, with y the target's logit and y_k the logit when the channel is 0; the map is the
rectified weighted sum of the channels (doi:10.1109/WACV45572.2020.9093360). No gradient is used. The paper divides by
y, which is positive for the predicted classes that it explains; a negative y would show evidence for a class as
evidence against it.

The network is run once and resumed at the layer, so that only what follows the layer computes for each channel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fervis.core.layers import Layer, spatial
from fervis.core.results import HeatMaps, LayerMaps
from fervis.models.batch import Batch
from fervis.system.progress import progress

VALUES_AT_ONCE = 1_000_000  # of changed activations: what a processor's cache holds


@dataclass
class AblationCam:
    """Compute Ablation-CAM at any layers; all targets are read from the same passes.

    Attributes:
        rectify: cut negative values off, as the paper does.
    """

    rectify: bool = True
    result: ClassVar = HeatMaps
    scope: ClassVar = "image"
    takes: ClassVar = frozenset({"layers", "classes"})
    default_layer: ClassVar = "last_map"

    def explain(self, batch: Batch) -> LayerMaps:
        """Explain each layer by one recorded pass, resumed for every channel of every image."""
        maps = {layer.name: self._maps(batch, layer) for layer in batch.layers}
        return LayerMaps(maps, "Σ relative fall × activation at {layer}", signed=not self.rectify)

    def _maps(self, batch: Batch, layer: Layer) -> Tensor:
        """Return the maps [N,T,h,w] of one layer."""
        recorded = batch.recorded(layer)
        activations = spatial(recorded.at_layer, layer)
        count, channels, height, width = activations.shape

        def scores(changed: Tensor, index: Tensor) -> Tensor:
            return batch.targets[index.cpu()].scores(recorded.logits(changed, index), {})

        plain = scores(activations, torch.arange(count, device=activations.device))  # [N,T]
        pairs = torch.cartesian_prod(*(torch.arange(n, device=activations.device) for n in (count, channels)))
        chunks = pairs.split(max(1, VALUES_AT_ONCE // (channels * height * width)))
        without = []
        for chunk in progress(chunks, "ablationcam", "batch", quiet=batch.quiet):
            images, ablated = chunk.unbind(1)
            changed = activations[images]
            changed[torch.arange(len(chunk)), ablated] = 0
            without.append(scores(changed, images))
        falls = plain[:, None] - torch.cat(without).unflatten(0, (count, channels))  # [N,c,T]
        weights = falls / plain[:, None].abs().clamp(min=torch.finfo(plain.dtype).tiny)
        maps = torch.einsum("nct,nchw->nthw", weights, activations)
        return maps.relu() if self.rectify else maps
