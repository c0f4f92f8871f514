"""Grad-CAM: a layer's channels weighted by their mean gradient (Selvaraju et al. 2017, arXiv:1610.02391).

The weight of a channel is the mean over positions of the target's gradient with respect to it; the map is the rectified
weighted sum of the channels, at the layer's own grid. Evidence against the target is cut off by the rectifier, so a map
may be 0 everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from fervis.explainers.cam.single_gradient import SingleGradientCam


@dataclass
class GradCam(SingleGradientCam):
    """Compute Grad-CAM at any layers for any targets."""

    method: ClassVar = "gradcam"
    unit: ClassVar = "Σ mean gradient × activation at {layer}"
