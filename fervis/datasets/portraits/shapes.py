"""Soft shapes on a grid that is fixed to the face, and windows of it.

Every shape is built of sums, products, clips and square roots and ends somewhere. So a part of the face that does not
move gives the same bits, and the pixels an action unit changes are exactly those near what it moves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]  # float32

LEFT, TOP, RIGHT, BOTTOM = -27.0, -20.0, 27.0, 35.0
"""The extent of the canvas, in pixels of a face drawn 48 wide, from the middle between the eyes; v grows downwards."""


def ramp(distance: Array, width: float | Array = 1.0) -> Array:
    """Rise from 0 to 1 over ``width`` around ``distance`` = 0."""
    share = distance / width
    share += np.float32(0.5)
    return share.clip(0, 1, out=share)


def smooth(x: Array) -> Array:
    """Compute the clipped cubic 3x^2 - 2x^3."""
    x = x.clip(0, 1)
    return x * x * (3 - 2 * x)


def bump(squared: Array) -> Array:
    """Compute (1 - r^2)^2 within r = 1, and 0 outside; the argument is r^2."""
    inside = 1 - squared
    np.maximum(inside, 0, out=inside)
    inside *= inside
    return inside


def blob(x: Array, y: Array, rx: float | Array, ry: float | Array) -> Array:
    """Draw a bump of these radii around (0, 0)."""
    x, y = x / rx, y / ry
    return bump(x * x + y * y)


def line(distance: Array, width: float | Array) -> Array:
    """Draw a soft line where ``distance`` is 0, gone at ``width``."""
    d = distance / width
    d *= d
    return bump(d)


@dataclass(frozen=True)
class Grid:
    """Grids of N faces under one frame.

    Attributes:
        density: samples per pixel of a face drawn 48 wide.
        u: [1,1,W] across, grows to the right of the picture.
        v: [1,H,1] down.
    """

    density: float
    u: Array
    v: Array

    @classmethod
    def of(cls, density: float) -> Grid:
        """Return the grid with this number of samples per pixel."""
        columns, rows = round((RIGHT - LEFT) * density), round((BOTTOM - TOP) * density)
        u = (LEFT + (np.arange(columns) + 0.5) / density).astype(np.float32)
        v = (TOP + (np.arange(rows) + 0.5) / density).astype(np.float32)
        return cls(density, u[None, None, :], v[None, :, None])

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.v.shape[1], self.u.shape[2]

    def blank(self, count: int) -> Array:
        """Return [count,H,W] zeros."""
        return np.zeros((count, *self.shape), np.float32)

    def box(self, left: float, right: float, top: float, bottom: float) -> tuple[slice, slice, slice]:
        """Return the window between these coordinates, to index [N,H,W] with."""
        columns = slice(max(0, round((left - LEFT) * self.density)), round((right - LEFT) * self.density))
        rows = slice(max(0, round((top - TOP) * self.density)), round((bottom - TOP) * self.density))
        return slice(None), rows, columns


@dataclass(frozen=True)
class Side:
    """One half of a window: ``p`` runs outwards from the middle of the face on either side.

    Attributes:
        sign: -1 for the left of the picture, 1 for the right.
        p: [1,1,w] distance from the middle.
        v: [1,h,1] down.
        rows: rows of the canvas.
        columns: columns of the canvas, running outwards.
    """

    sign: int
    p: Array
    v: Array
    rows: slice
    columns: slice

    def of(self, grid: Array) -> Array:
        """Return the window of an [N,H,W] grid, as a view that may be painted on."""
        return grid[:, self.rows, self.columns]


def sides(canvas: Grid, inner: float, outer: float, top: float, bottom: float) -> tuple[Side, Side]:
    """Return the left and the right window between these distances from the middle and these heights."""
    _, rows, right = canvas.box(inner, outer, top, bottom)
    width = canvas.shape[1]
    right = slice(right.start, min(right.stop, width))
    stop = width - right.stop - 1
    left = slice(width - right.start - 1, stop if stop >= 0 else None, -1)
    p, v = canvas.u[:, :, right], canvas.v[:, rows]
    return Side(-1, p, v, rows, left), Side(1, p, v, rows, right)
