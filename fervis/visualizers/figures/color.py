"""Map values to colours: scales, colour maps and overlays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from torch import Tensor

from fervis.errors import unknown_name


@dataclass(frozen=True)
class Scale:
    """Which value gets which colour: ``low`` the first, ``high`` the last, in between linearly.

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
        """Place of each value on the scale, in [0, 1]; all 0 (signed: 0.5) where every value is 0."""
        if self.high == self.low:
            return np.full(values.shape, 0.5 if self.signed else 0.0)
        return np.clip((values.astype(np.float64) - self.low) / (self.high - self.low), 0, 1)

    def strength(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """How far each value is from no colour at all (0, or ``low`` of magnitudes), in [0, 1]."""
        place = self.position(values)
        return np.abs(2 * place - 1) if self.signed else place


def scale_of(values: NDArray[Any], *, signed: bool, percentile: float = 100.0) -> Scale:
    """The scale on which these values are drawn.

    Signed values get limits that are symmetric about 0. Magnitudes start at 0, unless the smallest is more than a
    quarter of the largest (a map that rides on an offset, such as RISE's), or below 0: then at the smallest.

    Args:
        values: any shape, finite.
        signed: whether 0 is the middle.
        percentile: the last colour stands for this percentile of the (absolute) values, 100 for the largest.
    """
    least, most = float(values.min()), float(values.max())
    sizes = np.abs(values) if signed else values
    # Where nearly every value is 0 the percentile is 0 too, and would hide the few that are not.
    high = float(np.percentile(sizes, percentile)) or float(sizes.max())
    if signed:
        return Scale(-high, high, True, least, most)
    low = 0.0 if 0 <= least <= 0.25 * high or least == most > 0 else least
    return Scale(low, high, False, least, most)


def known_colormap(key: str, name: str) -> None:
    """Raise ConfigError for a colour map that matplotlib does not have."""
    if name not in colormaps:
        raise unknown_name(key, name, sorted(known for known in colormaps if not known.endswith("_r")), limit=8)


def to_rgb(image: Tensor) -> NDArray[np.uint8]:
    """A [C,H,W] uint8 picture, grey (C is 1) or RGB (C is 3), as [H,W,3] uint8."""
    pixels = image.permute(1, 2, 0).cpu().numpy()
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))


def colorize(values: NDArray[Any], scale: Scale, colormap: str) -> NDArray[np.uint8]:
    """[H,W] values in their colours, [H,W,3] uint8."""
    return colormaps[colormap](scale.position(values), bytes=True)[..., :3]


def overlay(
    face: NDArray[np.uint8], values: NDArray[Any], scale: Scale, colormap: str, *, opacity: float
) -> NDArray[np.uint8]:
    """The map over the darkened face, [H,W,3] uint8: the stronger the map, the more of it and the less of the face.

    The map's share is ``opacity`` times the root of its strength, which keeps middling values in sight. The face
    keeps 70 % of its brightness, so that the bright end of the scale is brighter than any skin and the overlay can
    be read in grey too.
    """
    share = opacity * np.sqrt(scale.strength(values))[..., None]
    return np.rint(0.7 * face * (1 - share) + colorize(values, scale, colormap) * share).astype(np.uint8)
