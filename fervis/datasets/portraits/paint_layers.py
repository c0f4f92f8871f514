"""The layers that the parts of a face are painted on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fervis.datasets.portraits.shapes import Array, Side

REGIONS = ("background", "forehead", "brows", "eyes", "nose", "cheeks", "mouth", "chin", "hair")
REGION = {name: index for index, name in enumerate(REGIONS)}


@dataclass
class PaintLayers:
    """Layers to paint on, all [N,H,W].

    Attributes:
        relief: height of the skin towards the camera, in pixels of a face drawn 48 wide.
        albedo: share of the light that the skin reflects.
        regions: index into ``REGIONS``.
        grain: fine and coarse texture, about 0, of the person's own.
    """

    relief: Array
    albedo: Array
    regions: NDArray[np.uint8]
    grain: tuple[Array, Array]


def over(below: Array, colour: Array | float, alpha: Array) -> None:
    """Paint a colour with this opacity over ``below``, in place."""
    below += (colour - below) * alpha


def pick(pair: tuple[Side, Side], sign: int) -> Side:
    """Return the left side for a negative sign, else the right one."""
    return pair[0] if sign < 0 else pair[1]
