"""Input x gradient: each value times the gradient of the target with respect to it (Shrikumar et al. 2016).

The sum over the channels of ``x * ∂ logit / ∂ x`` (arXiv:1605.01713), at the pixels or at a layer's output. It is the
first-order part of what the target would lose if the value were 0, and exactly that where the network is linear.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from fervis.core.layers import INPUT
from fervis.core.results import HeatMaps, LayerMaps
from fervis.explainers.gradient.passes import LAYERS_AND_PIXELS, maps_of_targets
from fervis.models.batch import Batch


@dataclass
class InputXGradient:
    """Compute the product summed over channels; it has no settings."""

    result: ClassVar = HeatMaps
    scope: ClassVar = "image"
    takes: ClassVar = LAYERS_AND_PIXELS
    default_layer: ClassVar = INPUT

    def explain(self, batch: Batch) -> LayerMaps:
        """Explain all layers and targets of a batch in one forward pass and a backward pass per target."""
        maps = maps_of_targets(batch.gradients(), lambda activations, gradients: (activations * gradients).sum(1))
        return LayerMaps(maps, "{layer} × ∂ logit / ∂ {layer}", signed=True)
