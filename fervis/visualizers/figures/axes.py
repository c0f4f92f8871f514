"""Panels of a chart on a sheet measured in inches: plain axes at a place, and a key to a curve."""

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
from fervis.visualizers.figures.canvas import FAINT_COLOR, Sheet
from fervis.visualizers.figures.color import scale_of


def epoch_ticks(first: int, last: int) -> list[int]:
    """The first epoch and the round ones after it that leave room for its number."""
    round_ones = np.asarray(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]).tick_values(first, last))
    apart = (last - first) / 12
    return [first, *(int(tick) for tick in round_ones.tolist() if first + apart < tick <= last)]


def y_ticks(values: NDArray[Any]) -> tuple[list[float], list[str]]:
    """Round ticks about the finite values, with labels; from 0, unless the least is over a quarter of the largest."""
    finite = values[np.isfinite(values)]
    scale = scale_of(finite, signed=False) if finite.size else None
    low, high = (scale.low, scale.high) if scale else (0.0, 1.0)
    if low == high:
        low, high = (low, low + 1) if low >= 0 else (low, 0.0)
    ticks = np.asarray(MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(low, high))
    decimals = max(0, -math.floor(math.log10(ticks[1] - ticks[0]) + 1e-9))
    plain = decimals <= 4 and np.abs(ticks).max() < 1e5
    labels = [f"{tick:.{decimals}f}".replace("-", "\N{MINUS SIGN}") if plain else format_number(tick) for tick in ticks]
    return ticks.tolist(), labels


LINE_COLOR: dict[str, Any] = {"linewidth": 0.9, "markersize": 2.8, "markeredgewidth": 0.8}


def add_axes(sheet: Sheet, left: float, top: float, width: float, height: float) -> Axes:
    """Axes with a thin left and lower edge at this place of a sheet, in inches from its upper left corner."""
    across, down = sheet.get_size_inches()
    axes = sheet.add_axes((left / across, 1 - (top + height) / down, width / across, height / down))
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set(linewidth=0.6, color=FAINT_COLOR)
    axes.tick_params(labelsize=6.5, width=0.6, length=2.5, pad=2, color=FAINT_COLOR)
    axes.set_axisbelow(True)
    return axes


def add_legend_key(sheet: Sheet, left: float, middle: float, looks: dict[str, Any], name: str, *, room: float) -> None:
    """A short piece of a curve with its marker, and beside it the name, in black."""
    across, down = sheet.get_size_inches()
    x, y = [(left + reach) / across for reach in (0, 0.13, 0.26)], [1 - middle / down] * 3
    sheet.add_artist(Line2D(x, y, markevery=[1], **LINE_COLOR | looks))
    canvas.add_text(sheet, left + 0.31, middle, name, room=room, va="center")
