"""Recall, precision and F1 of each class as dots with their intervals and as numbers, for a paper's text width.

All lengths are in inches.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from fervis.core.intervals import Interval, format_interval
from fervis.visualizers.figures import canvas
from fervis.visualizers.figures.axes import add_axes
from fervis.visualizers.figures.canvas import Sheet
from fervis.visualizers.figures.style import BLUE, DARK_YELLOW, FAINT_COLOR, GREY, RED, TEXT_WIDTH

PER_CLASS_MARGIN = 0.05
PER_CLASS_TOP = 0.46
METRIC_NAMES = {
    "recall": "recall: of the faces of the class, found",
    "precision": "precision: of those called so, right",
    "f1": "F1: harmonic mean of the two",
}
METRIC_COLUMNS = 0.78  # room for a number and its interval
PER_CLASS_GAP = 0.14
METRIC_COLORS = (BLUE, RED, DARK_YELLOW, GREY, "#000000")  # steps of lightness, distinct in grey too
METRIC_MARKERS = "osD^v"


def per_class_sheet(
    tables: Sequence[Mapping[str, Mapping[str, Any]]],
    names: Sequence[str],
    classes: Sequence[str],
    *,
    title: str,
    notes: Sequence[str],
    dpi: int,
) -> Sheet:
    """Draw a row per class and a panel per metric; in each row a dot, a whisker and the numbers of each network.

    Args:
        tables: of each network class -> metric -> ``value``, ``low``, ``high``, None where undefined.
        names: of the networks.
        classes: K names, in the order of the rows.
        title: which networks on which faces.
        notes: a line about each network, such as its accuracy.
        dpi: dots per inch.
    """
    several = len(tables) > 1
    row = max(0.24, 0.115 * len(tables) + 0.07)
    top = PER_CLASS_TOP + 0.12 * len(tables)
    height = top + row * len(classes) + 0.3
    sheet = canvas.new_figure(TEXT_WIDTH, height, dpi)
    canvas.add_heading(sheet, title, margin=PER_CLASS_MARGIN)
    for index, line in enumerate(notes):
        y = 0.19 + 0.12 * index
        if several:
            _dot(sheet, PER_CLASS_MARGIN + 0.05, y + 0.052, index)
        text = f"{names[index]}: {line}" if several else line
        canvas.add_text(
            sheet,
            PER_CLASS_MARGIN + 0.14 * several,
            y,
            text,
            room=TEXT_WIDTH - 2 * PER_CLASS_MARGIN - 0.14,
            size=7,
        )
    ends = [table[name][metric]["low"] for table in tables for name in classes for metric in METRIC_NAMES]
    # Dots, unlike bars, need no zero: the axis begins at a round number below all of them.
    low = min(80, 20 * math.floor(5 * min([end for end in ends if end is not None], default=0.0)))
    label = 0.72
    panel = (TEXT_WIDTH - 2 * PER_CLASS_MARGIN - label - 2 * PER_CLASS_GAP) / 3
    for position, (metric, heading) in enumerate(METRIC_NAMES.items()):
        left = PER_CLASS_MARGIN + label + position * (panel + PER_CLASS_GAP)
        canvas.add_text(sheet, left, top - 0.15, heading, room=panel, size=6.5)
        axes = _per_class_panel(sheet, left, top, panel - METRIC_COLUMNS, row, len(classes), low)
        for number, name in enumerate(classes):
            middle = top + (number + 0.5) * row
            if not position:
                room = label - 0.08
                canvas.add_text(sheet, left - 0.1, middle, name, room=room, ha="right", va="center")
            for index, table in enumerate(tables):
                off = (index - (len(tables) - 1) / 2) * 0.115
                value = Interval.of_table(table[name][metric])
                _mark(axes, number + off / row, value.percent, index)
                style: dict[str, Any] = {
                    "size": 6,
                    "va": "center",
                    "color": _metric_color(index) if several else "black",
                }
                text = format_interval(value.percent.informative, ".1f", ends=".0f")
                canvas.add_text(
                    sheet, left + panel - METRIC_COLUMNS + 0.08, middle + off, text, room=METRIC_COLUMNS - 0.06, **style
                )
    note = "per cent, with 95 % bootstrap intervals"
    canvas.add_text(
        sheet, TEXT_WIDTH - PER_CLASS_MARGIN, height - 0.13, note, room=3, size=6, ha="right", color=FAINT_COLOR
    )
    return sheet


def _per_class_panel(sheet: Sheet, left: float, top: float, width: float, row: float, count: int, low: float) -> Axes:
    axes = add_axes(sheet, left, top, width, row * count, grid="x")
    axes.set_xlim(low, 100)
    axes.set_ylim(count - 0.5, -0.5)
    axes.set_yticks([])
    axes.set_xticks([low, (low + 100) / 2, 100])
    axes.tick_params(labelsize=6)
    axes.spines["left"].set_visible(False)
    for line in range(1, count):
        axes.axhline(line - 0.5, color="#EEEEEE", linewidth=0.5, zorder=0)
    return axes


def _mark(axes: Axes, y: float, value: Interval, index: int) -> None:
    if not math.isfinite(value.value):
        return
    style: dict[str, Any] = {"color": _metric_color(index), "clip_on": False, "zorder": 3}
    if math.isfinite(value.low):
        axes.plot([value.low, value.high], [y, y], linewidth=0.9, solid_capstyle="butt", **style)
    axes.plot([value.value], [y], METRIC_MARKERS[index % len(METRIC_MARKERS)], markersize=2.6, **style)


def _dot(sheet: Sheet, x: float, y: float, index: int) -> None:
    width, height = sheet.get_size_inches()
    style: dict[str, Any] = {
        "marker": METRIC_MARKERS[index % len(METRIC_MARKERS)],
        "markersize": 3.5,
        "color": _metric_color(index),
    }
    sheet.add_artist(Line2D([x / width], [1 - y / height], **style))


def _metric_color(index: int) -> str:
    return METRIC_COLORS[index % len(METRIC_COLORS)]
