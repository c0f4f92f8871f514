"""Grad-CAM++: channels weighted by shares of their positive gradients (Chattopadhay et al. 2018, arXiv:1710.11063).

The weight of a channel is Σ α relu(g) over positions, with α = g² / (2g² + g³ ΣA) by equation 19 of the paper: the
smaller and fewer the regions in which a channel responds, the larger the share of each. The paper explains exp(logit),
whose derivatives are those of the logit times exp(logit); that factor is the same for all of a map and is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from fervis.explainers.cam.single_gradient import SingleGradientCam


@dataclass
class GradCamPlusPlus(SingleGradientCam):
    """Compute Grad-CAM++ at any layers for any targets."""

    default_layer: ClassVar = "last_map"
    method: ClassVar = "gradcam_plusplus"
    unit: ClassVar = "Σ weighted positive gradient × activation at {layer}"
