"""Deconvolution network: the target projected back through rectifiers that pass positive signals (Zeiler, Fergus 2014).

At every rectifier the incoming gradient is itself rectified, independently of the forward pass
(arXiv:1311.2901); poolings send it to the positions of their largest values, and convolutions are transposed, as in the
plain gradient. ``fervis/models/rectifiers.py`` defines which activations are rectifiers.
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
class DeconvNet:
    """Compute the signal of the deconvolution network at the pixels or at layers.

    Attributes:
        channels: what a map shows of the channels: the largest ``magnitude``, as saliency does, or the ``sum``.
    """

    channels: Annotated[str, Choice(*OVER_CHANNELS)] = "magnitude"
    result: ClassVar = HeatMaps
    scope: ClassVar = "image"
    takes: ClassVar = LAYERS_AND_PIXELS
    default_layer: ClassVar = INPUT

    def explain(self, batch: Batch) -> LayerMaps:
        """Explain all layers and targets of a batch in one forward pass and a backward pass per target."""
        rules = RectifierRules("deconvolution", "deconvnet")
        return rectified_maps(batch, rules, self.channels, "deconvolved signal at {layer}")
