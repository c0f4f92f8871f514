"""HiResCAM: gradient times activation, summed over channels (Draelos and Carin 2020, arXiv:2011.08891).

Gradients are not averaged over positions, so a map shows only where the layer's output, as it is, changes the target.
Where everything after the layer is linear, the values of ``rectify=false`` sum to the target, but for its bias.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from fervis.explainers.cam.single_gradient import SingleGradientCam


@dataclass
class HiResCam(SingleGradientCam):
    """Compute HiResCAM at any layers for any targets."""

    method: ClassVar = "hirescam"
    unit: ClassVar = "Σ gradient × activation at {layer}"
