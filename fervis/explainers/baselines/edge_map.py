"""An edge map: the magnitude of the image's Sobel gradient, which does not depend on the network.

Maps of several methods resemble it for any weights of the network (Adebayo et al. 2018, arXiv:1810.03292).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from fervis.core.layers import INPUT
from fervis.core.results import HeatMaps, LayerMaps
from fervis.models.batch import Batch
from fervis.models.image_edges import sobel_magnitude


@dataclass
class EdgeMap:
    """Compute the Sobel magnitude of the mean channel, the same for every target; it has no settings."""

    result: ClassVar = HeatMaps
    scope: ClassVar = "image"
    takes: ClassVar = frozenset({"pixels"})
    default_layer: ClassVar = INPUT

    def explain(self, batch: Batch) -> LayerMaps:
        """Compute one map per image."""
        maps = sobel_magnitude(batch.images)[:, None].repeat(1, batch.targets.count, 1, 1)
        return LayerMaps({INPUT: maps}, "Sobel magnitude of the image")
