"""Saliency: the absolute gradient of a class's logit (Simonyan, Vedaldi and Zisserman 2013, arXiv:1312.6034).

At the pixels it is the paper's image-specific class saliency: which pixels need to change least to change the score
most. At a layer it is the same question asked of the layer's output.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Generator, Tensor, nn

from fervis.core.layers import INPUT, Layer, resize_maps, spatial
from fervis.core.results import HeatMaps
from fervis.core.targets import Target
from fervis.explainers.gradients import gradient_heat_maps
from fervis.models.hooks import gradients


def saliency(model: nn.Module, images: Tensor, target: Target, layer: Layer | None = None) -> tuple[Tensor, Tensor]:
    """Largest absolute gradient over the channels, at a layer and at the pixels, from one backward pass.

    Args:
        model: network from images to [N,K] logits.
        images: [N,C,H,W] float.
        target: the score that is differentiated.
        layer: where the map is taken; None for the pixels.

    Returns:
        Two [N,H,W] tensors of the images' dtype, in score units a unit of what is differentiated: the map at the
        layer, brought to the images' size by bilinear interpolation, and the map of the pixels (the same tensor
        where ``layer`` is None).
    """
    names = [INPUT] if layer is None else [INPUT, layer.path]
    slopes = gradients(model, images, target, names).gradients
    pixels = slopes[INPUT].abs().amax(1)
    if layer is None:
        return pixels, pixels
    return resize_maps(spatial(slopes[layer.path], layer).abs().amax(1), (images.shape[2], images.shape[3])), pixels


@dataclass
class Saliency:
    """Saliency has no knobs: the gradient is what it is."""

    kind: ClassVar[str] = HeatMaps.kind
    default_layer: ClassVar[str] = INPUT

    def explain(
        self, model: nn.Module, images: Tensor, target: Target, layer: Layer | None, generator: Generator
    ) -> HeatMaps:
        """Explain [N,C,H,W] images; ``generator`` is not used, since nothing here is random."""
        return gradient_heat_maps(*saliency(model, images, target, layer), layer, "|{}|")
