"""FullGrad: input times gradient, and bias times gradient of every operation (Srinivas and Fleuret 2019).

A target is the sum of ``x · ∂ logit / ∂ x`` and of ``b · ∂ logit / ∂ out`` over the biases of all operations, explicit
and implicit (arXiv:1905.00780; ``biases.py`` lists them). The map adds up their magnitudes: at the pixels, and at every
output with height and width, summed over channels and resized to the image. Biases without positions (of the linear
head, say) are in no map. By how much all of them together miss the target is reported as ``completeness_gap``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fervis.core.layers import INPUT, resize_maps
from fervis.core.results import HeatMaps, LayerMaps
from fervis.explainers.gradient.biases import BiasGradients
from fervis.explainers.gradient.passes import pixel_layer
from fervis.models.batch import Batch

_LEAST = 1e-6  # added to a layer's largest magnitude, as in the authors' code


@dataclass
class FullGrad:
    """Add up the magnitudes of input times gradient and of every bias times its gradient.

    Attributes:
        rescale: bring the magnitudes of each operation to [0, 1] first, for each image, as the authors' code does: all
            layers then count alike, but a map no longer has the logit's unit.
    """

    rescale: bool = False
    result: ClassVar = HeatMaps
    scope: ClassVar = "image"
    takes: ClassVar = frozenset({"pixels", "classes", "filters"})
    default_layer: ClassVar = INPUT

    def explain(self, batch: Batch) -> LayerMaps:
        """Explain the pixels for all targets of a batch in one forward pass and a backward pass per target."""
        size = (int(batch.images.shape[2]), int(batch.images.shape[3]))
        biases = BiasGradients(self._map_of)
        maps, gaps = [], []
        for one in batch.gradients(biases, (pixel_layer(batch),)):
            at_pixels = batch.images * one.gradients[INPUT]
            through_biases, of_biases = biases.take()
            parts = [self._map_of(at_pixels), *(resize_maps(part, size) for part in of_biases)]
            maps.append(torch.stack(parts).sum(0))
            gaps.append((at_pixels.flatten(1).double().sum(1) + through_biases - one.scores).abs())
        unit = "Σ |input or bias × ∂ logit / ∂ its output|"
        scores = {"completeness_gap": torch.stack(gaps, 1)}
        return LayerMaps({INPUT: torch.stack(maps, 1)}, f"{unit}, rescaled" if self.rescale else unit, False, scores)

    def _map_of(self, products: Tensor) -> Tensor:
        """Return [N,h,w]: the magnitudes of products [N,c,h,w], summed over channels."""
        magnitudes = products.abs()
        if self.rescale:
            magnitudes = magnitudes - magnitudes.amin((1, 2, 3), keepdim=True)
            magnitudes = magnitudes / (magnitudes.amax((1, 2, 3), keepdim=True) + _LEAST)
        return magnitudes.sum(1)
