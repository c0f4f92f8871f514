"""Panels of charts on a sheet measured in inches: axes, ticks and keys to curves."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from fervis.core.intervals import format_number
from fervis.visualizers.figures import canvas
from fervis.visualizers.figures.canvas import Sheet
from fervis.visualizers.figures.style import MARKED_LINE


def epoch_ticks(first: int, last: int) -> list[int]:
    """Return the first epoch and the round ones after it that leave room for its number."""
    round_ones = np.asarray(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]).tick_values(first, last))
    apart = (last - first) / 12
    return [first, *(int(tick) for tick in round_ones.tolist() if first + apart < tick <= last)]


def y_ticks(values: NDArray[Any]) -> tuple[list[float], list[str]]:
    """Return round ticks around the finite values, and their labels.

    They begin at 0 unless the least value is over a quarter of the largest: dots and lines, unlike areas, need no zero.
    """
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    low = 0.0 if 0 <= low <= 0.25 * high or low == high > 0 else low
    if low == high:
        low, high = (low, low + 1) if low >= 0 else (low, 0.0)
    ticks = np.asarray(MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(low, high))
    decimals = max(0, -math.floor(math.log10(ticks[1] - ticks[0]) + 1e-9))
    plain = decimals <= 4 and np.abs(ticks).max() < 1e5
    labels = [f"{tick:.{decimals}f}".replace("-", "\N{MINUS SIGN}") if plain else format_number(tick) for tick in ticks]
    return ticks.tolist(), labels


def add_axes(
    sheet: Sheet, left: float, top: float, width: float, height: float, *, title: str = "", grid: str = ""
) -> Axes:
    """Add axes whose upper left corner is at this position of a sheet, in inches.

    Args:
        sheet: to add them to.
        left: of the panel.
        top: of the panel.
        width: of the panel.
        height: of the panel.
        title: line of text above the panel, which may begin left of it, above the labels of its ticks.
        grid: axis whose ticks get grid lines, ``x`` or ``y``; empty for none.
    """
    across, down = sheet.get_size_inches()
    axes = sheet.add_axes((left / across, 1 - (top + height) / down, width / across, height / down))
    if grid:
        axes.grid(axis=grid, zorder=0)  # pyright: ignore[reportArgumentType]
    if title:
        canvas.add_text(sheet, left - 0.3, top - 0.05, title, room=width + 0.3, va="bottom")
    return axes


def add_legend_key(sheet: Sheet, left: float, middle: float, style: dict[str, Any], name: str, *, room: float) -> None:
    """Draw a short piece of a curve with its marker, followed by the curve's name in black."""
    across, down = sheet.get_size_inches()
    x, y = [(left + reach) / across for reach in (0, 0.13, 0.26)], [1 - middle / down] * 3
    sheet.add_artist(Line2D(x, y, markevery=[1], **MARKED_LINE | style))
    canvas.add_text(sheet, left + 0.31, middle, name, room=room, va="center")
