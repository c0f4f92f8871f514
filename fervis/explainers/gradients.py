"""Heat maps of gradients, with their units."""

from __future__ import annotations

from torch import Tensor

from fervis.core.layers import Layer, resize_maps
from fervis.core.results import HeatMaps


def gradient_heat_maps(maps: Tensor, pixels: Tensor, layer: Layer | None, unit: str) -> HeatMaps:
    """Maps of slopes of the logit at a layer, with those of the pixels beside them.

    Args:
        maps: [N,h,w] at the layer, of its own size or the images'.
        pixels: [N,H,W] at the pixels; the same where ``layer`` is None.
        layer: where the maps were taken; None for the pixels.
        unit: what is made of a slope, which stands for ``{}``, such as ``|{}|``.
    """
    at_pixels, anywhere = (unit.format(f"∂ logit / ∂ {what}") for what in ("pixel", "layer"))
    if layer is None:
        return HeatMaps(pixels, at_pixels, layer_unit=anywhere)
    sized = resize_maps(maps, (pixels.shape[1], pixels.shape[2]))
    at_layer = unit.format(f"∂ logit / ∂ {layer.name}")
    return HeatMaps(sized, at_layer, pixel_maps=pixels, pixel_unit=at_pixels, layer_unit=anywhere)
