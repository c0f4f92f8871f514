"""Panels of a chart on a sheet measured in inches: plain axes at a place, and a key to a curve."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from fervis.engines import drawing
from fervis.engines.drawing import FAINT, Sheet

LINE: dict[str, Any] = {"linewidth": 0.9, "markersize": 2.8, "markeredgewidth": 0.8}


def axes_at(sheet: Sheet, left: float, top: float, width: float, height: float) -> Axes:
    """Axes with a thin left and lower edge at this place of a sheet, in inches from its upper left corner."""
    across, down = sheet.get_size_inches()
    axes = sheet.add_axes((left / across, 1 - (top + height) / down, width / across, height / down))
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set(linewidth=0.6, color=FAINT)
    axes.tick_params(labelsize=6.5, width=0.6, length=2.5, pad=2, color=FAINT)
    axes.set_axisbelow(True)
    return axes


def key(sheet: Sheet, left: float, middle: float, looks: dict[str, Any], name: str, *, room: float) -> None:
    """A short piece of a curve with its marker, and beside it the name, in black."""
    across, down = sheet.get_size_inches()
    x, y = [(left + reach) / across for reach in (0, 0.13, 0.26)], [1 - middle / down] * 3
    sheet.add_artist(Line2D(x, y, markevery=[1], **LINE | looks))
    drawing.write(sheet, left + 0.31, middle, name, room=room, va="center")
