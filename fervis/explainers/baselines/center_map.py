"""A centre map: a Gaussian around the middle of the image, which depends on neither the image nor the network.

What is centred in all images, as faces are, is localized by it well: a method must do better (Judd et al. 2012 and, for
explanations, the ``center`` baseline of Fong, Patrick and Vedaldi 2019, arXiv:1910.08485).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from fervis.core.knobs import Above
from fervis.core.layers import INPUT
from fervis.core.results import HeatMaps, LayerMaps
from fervis.models.batch import Batch


@dataclass
class CenterMap:
    """Draw a Gaussian with its maximum, 1, in the middle of the image, the same for every image and target.

    Attributes:
        sigma: its standard deviation, as a part of the image's height down and of its width across.
    """

    sigma: Annotated[float, Above(0)] = 0.25
    result: ClassVar = HeatMaps
    scope: ClassVar = "image"
    takes: ClassVar = frozenset({"pixels"})
    default_layer: ClassVar = INPUT

    def explain(self, batch: Batch) -> LayerMaps:
        """Draw one map for all images."""
        height, width = batch.images.shape[2:]
        down, across = (_bell(int(length), self.sigma).to(batch.images.device) for length in (height, width))
        maps = (down[:, None] * across).repeat(len(batch), batch.targets.count, 1, 1)
        return LayerMaps({INPUT: maps}, "Gaussian around the centre")


def _bell(length: int, sigma: float) -> Tensor:
    """Return exp(-x² / 2 sigma²) [length], with x the distance from the middle as a part of the length."""
    x = (torch.arange(length) + 0.5) / length - 0.5
    return (-(x**2) / (2 * sigma**2)).exp()
