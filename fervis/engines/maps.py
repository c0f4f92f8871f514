"""Arithmetic of heat maps: plain functions on [N,H,W] tensors."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from fervis.layers import Layer
from fervis.results import HeatMaps


def to_size(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Bring [N,h,w] maps to ``size`` (height, width) by bilinear interpolation, pixel centres kept in place."""
    if maps.shape[-2:] == size:
        return maps
    return F.interpolate(maps[:, None], size, mode="bilinear", align_corners=False)[:, 0]


def of_slopes(maps: Tensor, pixels: Tensor, layer: Layer | None, unit: str) -> HeatMaps:
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
    sized = to_size(maps, (pixels.shape[1], pixels.shape[2]))
    at_layer = unit.format(f"∂ logit / ∂ {layer.name}")
    return HeatMaps(sized, at_layer, pixel_maps=pixels, pixel_unit=at_pixels, layer_unit=anywhere)
