"""RefineCAM: the maps of several layers as one, multiplied (Domeniconi et al. 2026, arXiv:2605.14641).

The map of each layer is rectified, brought to [0, 1] and resized to the image; the result is their product, so that a
pixel counts only if every layer shows it. Other fusions are the mean, and the maximum of tanh(2 × map / its maximum) of
LayerCAM's paper (Jiang et al. 2021, equation 9). A layer whose map is 0 everywhere makes the product 0 everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn

from fervis.core.knobs import Choice, ListOf, Text
from fervis.core.layers import INPUT, Layer, list_layers, resize_maps, resolve_layers
from fervis.core.results import HeatMaps, LayerMaps
from fervis.errors import ConfigError
from fervis.explainers.cam.weighting import MAPS_OF_PASS
from fervis.models.batch import Batch
from fervis.models.hooks import frozen

FUSIONS = ("product", "mean", "maximum")


@dataclass
class RefineCam:
    """Fuse the CAMs of several layers into one map of the image.

    Attributes:
        layers: ``stages``, the last output of each resolution; ``all``, every convolution or block; or a list of names.
        method: the CAM, of those of one gradient.
        fusion: ``product``, ``mean`` or ``maximum``.
    """

    layers: Annotated[Any, Text("stages, all, the name of a layer") | ListOf(Text(), "a list of different ones")] = (
        "stages"
    )
    method: Annotated[str, Choice(*MAPS_OF_PASS)] = "gradcam_plusplus"
    fusion: Annotated[str, Choice(*FUSIONS)] = "product"
    result: ClassVar = HeatMaps
    scope: ClassVar = "image"
    takes: ClassVar = frozenset({"pixels", "classes"})
    default_layer: ClassVar = INPUT

    def explain(self, batch: Batch) -> LayerMaps:
        """Explain all targets in one forward pass and a backward pass per target, for any number of layers."""
        with frozen(batch.model), torch.no_grad():
            layers = fused_layers(batch.model, self.layers, batch.images[:1])
        height, width = batch.images.shape[2:]
        maps = []
        for target_pass in batch.gradients(layers=layers):
            of_layers = [
                MAPS_OF_PASS[self.method](target_pass.activations[name], gradients).relu()
                for name, gradients in target_pass.gradients.items()
            ]
            maps.append(fuse(of_layers, (int(height), int(width)), self.fusion))
        return LayerMaps({INPUT: torch.stack(maps, 1)}, f"{self.fusion} of the scaled maps of {len(layers)} layers")


def fused_layers(model: nn.Module, spec: str | Sequence[str], image: Tensor) -> tuple[Layer, ...]:
    """Return the layers that ``explainer.layers`` selects; where there are no stages, ``all`` of them.

    Raises:
        ConfigError: there is no such layer, or it is the pixels.
    """
    if spec == "stages":
        named = {alias: layer for layer in list_layers(model, image) for alias in layer.aliases}
        stages = [
            name
            for name, layer in named.items()
            if name.startswith("stage") and name[5:].isdigit() and layer.calls == 1
        ]
        spec = stages or "all"
    layers = resolve_layers(model, spec, image)
    if any(layer.is_input for layer in layers):
        raise ConfigError("explainer.layers=input: a CAM is of a layer, not of the pixels.")
    return layers


def fuse(maps: Sequence[Tensor], size: tuple[int, int], fusion: str) -> Tensor:
    """Fuse maps [N,h,w], one per layer and none negative, into one [N,H,W] of this size.

    Args:
        maps: each with its own height and width.
        size: height and width of the result.
        fusion: ``product`` or ``mean`` of the maps brought to [0, 1], or ``maximum`` of tanh(2 × map / its maximum).
    """
    lows = [torch.zeros_like(part) if fusion == "maximum" else part.amin((1, 2), keepdim=True) for part in maps]
    scaled = [
        _over_maximum(part - low, (part - low).amax((1, 2), keepdim=True)) for part, low in zip(maps, lows, strict=True)
    ]
    if fusion == "maximum":
        scaled = [(2 * part).tanh() for part in scaled]
    stacked = torch.stack([resize_maps(part, size) for part in scaled])
    return {"product": stacked.prod(0), "mean": stacked.mean(0), "maximum": stacked.amax(0)}[fusion]


def _over_maximum(values: Tensor, highest: Tensor) -> Tensor:
    """Divide maps by their maximum; those that are 0 everywhere stay so."""
    return torch.where(highest > 0, values / highest, 0)
