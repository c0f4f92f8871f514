"""Parts shared by the gradient methods: the layers of a pass, and maps computed target by target."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from fervis.core.layers import INPUT, Layer
from fervis.core.results import LayerMaps
from fervis.models.batch import Batch
from fervis.models.hooks import TargetPass
from fervis.models.rectifiers import RectifierRules

LAYERS_AND_PIXELS = frozenset({"layers", "pixels", "classes", "filters"})
OVER_CHANNELS: dict[str, Callable[[Tensor], Tensor]] = {
    "magnitude": lambda values: values.abs().amax(1),
    "sum": lambda values: values.sum(1),
}
"""How values [N,c,h,w] become a map [N,h,w]: the largest magnitude over the channels, or their sum."""


def with_pixels(batch: Batch) -> tuple[Layer, ...]:
    """Return the batch's layers and, if not among them, the pixels, whose gradient the same passes compute."""
    if any(layer.is_input for layer in batch.layers):
        return batch.layers
    return (*batch.layers, pixel_layer(batch))


def pixel_layer(batch: Batch) -> Layer:
    """Return the batch's pixels as a layer."""
    channels, height, width = batch.images.shape[1:]
    return Layer(INPUT, "", "pixels", (channels, height, width), 0, 1, "NCHW", (height, width), (INPUT,))


def maps_of_targets(passes: Iterable[TargetPass], map_of: Callable[[Tensor, Tensor], Tensor]) -> dict[str, Tensor]:
    """Compute a map per target and layer from activations and gradients.

    Args:
        passes: T passes.
        map_of: activations [N,c,h,w], gradients [N,c,h,w] -> maps [N,h,w].

    Returns:
        Name of a layer -> [N,T,h,w].
    """
    maps: dict[str, list[Tensor]] = {}
    for target_pass in passes:
        for name, gradient in target_pass.gradients.items():
            maps.setdefault(name, []).append(map_of(target_pass.activations[name], gradient))
    return {name: torch.stack(parts, 1) for name, parts in maps.items()}


def rectified_maps(batch: Batch, rules: RectifierRules, channels: str, unit: str) -> LayerMaps:
    """Map the gradient that rectifiers pass by rules of their own, at all layers for all targets.

    Args:
        batch: N images with T targets each.
        rules: of the rectifiers.
        channels: a key of ``OVER_CHANNELS``.
        unit: of the sum over the channels.
    """
    maps = maps_of_targets(batch.gradients(rules), lambda _, gradient: OVER_CHANNELS[channels](gradient))
    signed = channels == "sum"
    return LayerMaps(maps, unit if signed else f"|{unit}|", signed)
