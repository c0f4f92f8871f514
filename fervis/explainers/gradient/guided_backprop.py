"""Guided backpropagation: the gradient without what would lower any unit on its way (Springenberg et al. 2014).

At every rectifier a negative gradient is cut off before the rectifier's own derivative lets it pass (arXiv:1412.6806),
so that only paths along which every unit raises the target remain. Rectifiers are located in the graph of the forward
pass, modules and functions alike; ``fervis/models/rectifiers.py`` defines which activations are rectifiers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from fervis.core.knobs import Choice
from fervis.core.layers import INPUT
from fervis.core.results import HeatMaps, LayerMaps
from fervis.explainers.gradient.passes import LAYERS_AND_PIXELS, OVER_CHANNELS, rectified_maps
from fervis.models.batch import Batch
from fervis.models.rectifiers import RectifierRules


@dataclass
class GuidedBackprop:
    """Compute the guided gradient at the pixels or at layers.

    Attributes:
        channels: what a map shows of the channels: the largest ``magnitude``, as saliency does, or the ``sum``, whose
            sign states whether a brighter pixel raises the target.
    """

    channels: Annotated[str, Choice(*OVER_CHANNELS)] = "magnitude"
    result: ClassVar = HeatMaps
    scope: ClassVar = "image"
    takes: ClassVar = LAYERS_AND_PIXELS
    default_layer: ClassVar = INPUT

    def explain(self, batch: Batch) -> LayerMaps:
        """Explain all layers and targets of a batch in one forward pass and a backward pass per target."""
        rules = RectifierRules("guided", "guided_backprop")
        return rectified_maps(batch, rules, self.channels, "guided ∂ logit / ∂ {layer}")
