"""LayerCAM: each activation weighted by its own gradient where that is positive (Jiang et al. 2021).

A weight per position instead of one per channel preserves fine detail at shallow layers (doi:10.1109/TIP.2021.3089943).
Maps of several layers are fused by ``explainer=refine explainer.method=layercam explainer.fusion=maximum``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from fervis.explainers.cam.single_gradient import SingleGradientCam


@dataclass
class LayerCam(SingleGradientCam):
    """Compute LayerCAM at any layers for any targets."""

    method: ClassVar = "layercam"
    unit: ClassVar = "Σ positive gradient × activation at {layer}"
