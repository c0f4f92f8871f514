"""Recall, precision and F1 of each class as dots with their intervals and as numbers, for a paper's text width.

All lengths are in inches.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from fervis.core.intervals import Interval, format_interval
from fervis.visualizers.figures import canvas
from fervis.visualizers.figures.axes import add_axes
from fervis.visualizers.figures.canvas import FAINT_COLOR, Sheet

PER_CLASS_WIDTH = 6.5
PER_CLASS_MARGIN = 0.05
PER_CLASS_TOP = 0.46
METRIC_NAMES = {
    "recall": "recall: of the faces of the class, found",
    "precision": "precision: of those called so, right",
    "f1": "F1: harmonic mean of the two",
}
METRIC_COLUMNS = 0.78  # room for a number and its interval
PER_CLASS_GAP = 0.14
# Tol's high-contrast blue, red and yellow, then grey: steps of lightness, so that they are told apart in grey too.
METRIC_COLORS = ("#004488", "#BB5566", "#997700", "#777777", "#000000")
METRIC_MARKERS = "osD^v"


def per_class_sheet(
    tables: Sequence[Mapping[str, Mapping[str, Any]]],
    names: Sequence[str],
    classes: Sequence[str],
    *,
    title: str,
    said: Sequence[str],
    dpi: int,
) -> Sheet:
    """A row a class, a panel a metric; in each row a dot and a whisker for each network, and its numbers beside.

    Args:
        tables: of each network class -> metric -> ``value``, ``low``, ``high``, None where undefined.
        names: of the networks.
        classes: K names, in the order of the rows.
        title: which networks on which faces.
        said: a line about each network, such as its accuracy.
        dpi: dots an inch.
    """
    several = len(tables) > 1
    row = max(0.24, 0.115 * len(tables) + 0.07)
    top = PER_CLASS_TOP + 0.12 * len(tables)
    height = top + row * len(classes) + 0.3
    sheet = canvas.new_figure(PER_CLASS_WIDTH, height, dpi)
    canvas.add_text(
        sheet, PER_CLASS_MARGIN, 0.03, title, room=PER_CLASS_WIDTH - 2 * PER_CLASS_MARGIN, size=8.5, fontweight="bold"
    )
    for index, line in enumerate(said):
        y = 0.19 + 0.12 * index
        if several:
            _dot(sheet, PER_CLASS_MARGIN + 0.05, y + 0.052, index)
        text = f"{names[index]}: {line}" if several else line
        canvas.add_text(
            sheet,
            PER_CLASS_MARGIN + 0.14 * several,
            y,
            text,
            room=PER_CLASS_WIDTH - 2 * PER_CLASS_MARGIN - 0.14,
            size=7,
        )
    ends = [table[name][metric]["low"] for table in tables for name in classes for metric in METRIC_NAMES]
    # Dots, unlike bars, need no zero: the axis begins at a round number below all of them.
    low = min(80, 20 * math.floor(5 * min([end for end in ends if end is not None], default=0.0)))
    label = 0.72
    panel = (PER_CLASS_WIDTH - 2 * PER_CLASS_MARGIN - label - 2 * PER_CLASS_GAP) / 3
    for place, (metric, heading) in enumerate(METRIC_NAMES.items()):
        left = PER_CLASS_MARGIN + label + place * (panel + PER_CLASS_GAP)
        canvas.add_text(sheet, left, top - 0.15, heading, room=panel, size=6.5)
        axes = _per_class_panel(sheet, left, top, panel - METRIC_COLUMNS, row, len(classes), low)
        for number, name in enumerate(classes):
            middle = top + (number + 0.5) * row
            if not place:
                room = label - 0.08
                canvas.add_text(sheet, left - 0.1, middle, name, room=room, ha="right", va="center")
            for index, table in enumerate(tables):
                off = (index - (len(tables) - 1) / 2) * 0.115
                found = table[name][metric]
                _mark(axes, number + off / row, found, index)
                looks: dict[str, Any] = {
                    "size": 6,
                    "va": "center",
                    "color": _metric_color(index) if several else "black",
                }
                text = format_interval(Interval.of_table(found).percent.informative, ".1f", ends=".0f")
                canvas.add_text(
                    sheet, left + panel - METRIC_COLUMNS + 0.08, middle + off, text, room=METRIC_COLUMNS - 0.06, **looks
                )
    note = "per cent, with 95 % bootstrap intervals"
    canvas.add_text(
        sheet, PER_CLASS_WIDTH - PER_CLASS_MARGIN, height - 0.13, note, room=3, size=6, ha="right", color=FAINT_COLOR
    )
    return sheet


def _per_class_panel(sheet: Sheet, left: float, top: float, width: float, row: float, count: int, low: float) -> Axes:
    axes = add_axes(sheet, left, top, width, row * count)
    axes.set_xlim(low, 100)
    axes.set_ylim(count - 0.5, -0.5)
    axes.set_yticks([])
    axes.set_xticks([low, (low + 100) / 2, 100])
    axes.tick_params(labelsize=6)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color="#DDDDDD", linewidth=0.5)
    for line in range(1, count):
        axes.axhline(line - 0.5, color="#EEEEEE", linewidth=0.5, zorder=0)
    return axes


def _mark(axes: Axes, y: float, found: Mapping[str, Any], index: int) -> None:
    if found["value"] is None:
        return
    looks: dict[str, Any] = {"color": _metric_color(index), "clip_on": False, "zorder": 3}
    if found["low"] is not None:
        axes.plot([100 * found["low"], 100 * found["high"]], [y, y], linewidth=0.9, solid_capstyle="butt", **looks)
    axes.plot([100 * found["value"]], [y], METRIC_MARKERS[index % len(METRIC_MARKERS)], markersize=2.6, **looks)


def _dot(sheet: Sheet, x: float, y: float, index: int) -> None:
    width, height = sheet.get_size_inches()
    looks: dict[str, Any] = {
        "marker": METRIC_MARKERS[index % len(METRIC_MARKERS)],
        "markersize": 3.5,
        "color": _metric_color(index),
    }
    sheet.add_artist(canvas.Line2D([x / width], [1 - y / height], **looks))


def _metric_color(index: int) -> str:
    return METRIC_COLORS[index % len(METRIC_COLORS)]
