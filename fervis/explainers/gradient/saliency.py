"""Saliency: absolute gradient of the target with respect to the pixels, or to a layer's output.

At the pixels this is the image-specific class saliency of Simonyan, Vedaldi and Zisserman (2013, arXiv:1312.6034): the
gradient's magnitude, its largest over the colour channels. At a layer it is the same quantity, largest over the layer's
channels; the pixel map of the same pass is added for comparison.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from fervis.core.layers import INPUT
from fervis.core.results import HeatMaps, LayerMaps
from fervis.explainers.gradient.passes import LAYERS_AND_PIXELS, maps_of_targets, with_pixels
from fervis.models.batch import Batch


@dataclass
class Saliency:
    """Compute the largest absolute gradient over channels; it has no settings."""

    result: ClassVar = HeatMaps
    scope: ClassVar = "image"
    takes: ClassVar = LAYERS_AND_PIXELS
    default_layer: ClassVar = INPUT

    def explain(self, batch: Batch) -> LayerMaps:
        """Explain all layers and targets of a batch in one forward pass and a backward pass per target."""
        layers = with_pixels(batch)
        maps = maps_of_targets(batch.gradients(layers=layers), lambda _, gradient: gradient.abs().amax(1))
        return LayerMaps(maps, "|∂ logit / ∂ {layer}|")
