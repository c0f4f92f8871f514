"""Map values to colours: scales, colour maps and overlays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from torch import Tensor

from fervis.core.knobs import Choice

CONSTANT_SPREAD = 1e-6
"""Values whose range is at most this part of the largest absolute value differ by rounding alone (float32 has 6e-8)."""


class _ColormapName(Choice):
    def __init__(self) -> None:
        super().__init__(*colormaps)

    def __str__(self) -> str:
        return "the name of one of matplotlib's colour maps, such as inferno, viridis or gray"


Colormap = Annotated[str, _ColormapName()]
"""The name of a colour map of matplotlib."""


@dataclass(frozen=True)
class Scale:
    """A colour scale: ``low`` has the first colour, ``high`` the last, linear in between.

    Attributes:
        low: value of the first colour; ``-high`` where ``signed``.
        high: value of the last colour; values beyond share it.
        signed: whether 0 is the middle.
        least: the smallest value there is.
        most: the largest value there is.
    """

    low: float
    high: float
    signed: bool
    least: float
    most: float

    def position(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Return the position of each value on the scale, in [0, 1]; 0 (signed: 0.5) where every value is 0."""
        if self.high == self.low:
            return np.full(values.shape, 0.5 if self.signed else 0.0)
        return np.clip((values.astype(np.float64) - self.low) / (self.high - self.low), 0, 1)

    def strength(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Return how far each value is from no colour at all (0, or ``low`` of magnitudes), in [0, 1]."""
        position = self.position(values)
        return np.abs(2 * position - 1) if self.signed else position


def scale_of(values: NDArray[Any], *, signed: bool, percentile: float = 100.0) -> Scale:
    """Choose the scale on which these values are drawn.

    Signed values get limits that are symmetric about 0. Magnitudes start at 0, so that the same colour is the same
    share of the largest value in every map, and a map that hardly varies looks like one. Values below 0 extend the
    scale to the smallest.

    Args:
        values: any shape, finite.
        signed: whether 0 is the middle.
        percentile: the last colour is this percentile of the (absolute) values, 100 for the largest.
    """
    least, most = float(values.min()), float(values.max())
    sizes = np.abs(values) if signed else values
    # Where nearly every value is 0 the percentile is 0 too, and would hide the few that are not.
    high = float(np.percentile(sizes, percentile)) or float(sizes.max())
    if signed:
        return Scale(-high, high, True, least, most)
    return Scale(min(0.0, least), max(0.0, high), False, least, most)


def is_constant(values: NDArray[Any]) -> bool:
    """Whether values are all the same but for rounding.

    Example:
        >>> is_constant(np.array([0.0625, 0.0625 + 1e-9])), is_constant(np.array([0.0, 1e-9]))
        (True, False)
    """
    spread = float(values.max()) - float(values.min())
    return spread <= CONSTANT_SPREAD * float(np.abs(values).max())


def to_rgb(image: Tensor) -> NDArray[np.uint8]:
    """Convert a [C,H,W] uint8 picture, grey (C is 1) or RGB (C is 3), to [H,W,3] uint8."""
    pixels = image.permute(1, 2, 0).cpu().numpy()
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))


def colorize(values: NDArray[Any], scale: Scale, colormap: str) -> NDArray[np.uint8]:
    """Convert [H,W] values to their colours, [H,W,3] uint8."""
    return colormaps[colormap](scale.position(values), bytes=True)[..., :3]


def overlay(
    face: NDArray[np.uint8], values: NDArray[Any], scale: Scale, colormap: str, *, opacity: float
) -> NDArray[np.uint8]:
    """Draw the map over the darkened face, [H,W,3] uint8: the stronger the map, the less is seen of the face.

    The map's share is ``opacity`` times the root of its strength, so that medium values stay visible. The face retains
    70 % of its brightness, so that the bright end of the scale is brighter than any skin and the overlay can be read in
    grey too.
    """
    share = opacity * np.sqrt(scale.strength(values))[..., None]
    return np.rint(0.7 * face * (1 - share) + colorize(values, scale, colormap) * share).astype(np.uint8)
