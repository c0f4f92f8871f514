"""XGrad-CAM: channels weighted by their gradient's activation-weighted mean (Fu et al. 2020, arXiv:2008.02312).

The weight of a channel is Σ gA / ΣA, by which the values of a map sum to the same as those of HiResCAM (the paper's
axiom of conservation). It is meant for rectified activations: before a rectifier ΣA may be near 0, and the weight
without bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from fervis.explainers.cam.single_gradient import SingleGradientCam


@dataclass
class XGradCam(SingleGradientCam):
    """Compute XGrad-CAM at any layers for any targets."""

    default_layer: ClassVar = "last_map"
    method: ClassVar = "xgradcam"
    unit: ClassVar = "Σ activation-weighted mean gradient × activation at {layer}"
