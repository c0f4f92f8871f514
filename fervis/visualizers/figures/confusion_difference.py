"""Confusion matrices of several networks on one scale, and the difference between two of them.

All lengths are in inches.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from fervis.visualizers.figures import canvas
from fervis.visualizers.figures.canvas import Sheet
from fervis.visualizers.figures.confusion_matrix import MATRIX_MARGIN, draw_grid, grid_of
from fervis.visualizers.figures.matrix_cells import COLORMAP, cells_of, colored_cells, shares_of
from fervis.visualizers.figures.style import FAINT_COLOR, SMALLEST_TYPE, TEXT_WIDTH

DIVERGING = "PuOr_r"  # purple for less, white for none, orange for more: distinct to every eye
DIFFERENCE_TOP = 0.32
HEADING_HEIGHT = 0.36  # a matrix's name and its accuracy
MATRIX_GAP = 0.16
LINE, BETWEEN = 0.115, 0.06


@dataclass(frozen=True)
class LabelledMatrix:
    """A network's matrix.

    Attributes:
        name: of the network, such as ``checkpoint 1``.
        accuracy: in words.
        counts: [K,K] whole numbers.
        intervals: [K,K,2] of the shares, or None.
        notes: lines about it, such as its best and worst cells.
    """

    name: str
    accuracy: str
    counts: NDArray[Any]
    intervals: NDArray[Any] | None
    notes: Sequence[str]


def compare_matrices(
    matrices: Sequence[LabelledMatrix], classes: Sequence[str], *, title: str, dpi: int, show: str, intervals: str
) -> Sheet:
    """Draw two or more matrices side by side, two or (from five on) three in a row, and of two their difference.

    Args:
        matrices: of the networks.
        classes: K names.
        title: which networks on which faces.
        dpi: dots per inch.
        show: as in ``confusion_matrix.matrix``.
        intervals: in which cells they are written: ``none``, ``diagonal`` or ``all``.
    """
    across = 2 if len(matrices) <= 4 else 3
    each = (TEXT_WIDTH - 2 * MATRIX_MARGIN - (across - 1) * MATRIX_GAP) / across
    totals = matrices[0].counts.sum(1)
    grid = grid_of(totals, classes, room=each)
    down = HEADING_HEIGHT + grid.top + len(classes) * grid.side + 0.12
    rows = -(-len(matrices) // across)
    notes = [
        (counted.name, _heading_lines(counted.notes, each if len(matrices) == 2 else TEXT_WIDTH - 2 * MATRIX_MARGIN))
        for counted in matrices
    ]
    if differ := len(matrices) == 2:
        notes.append(
            ("largest differences", _heading_lines(largest_differences(matrices[0], matrices[1], classes), each))
        )
    foot = DIFFERENCE_TOP + rows * down
    bar = 0.36
    below = foot + bar
    text = sum(LINE * (1 + len(lines)) + BETWEEN for _, lines in notes)
    height = below + (max(down + bar, text) if differ else text)
    sheet = canvas.new_figure(TEXT_WIDTH, height + 0.04, dpi)

    canvas.add_heading(sheet, title, margin=MATRIX_MARGIN)
    legend = ""
    for index, counted in enumerate(matrices):
        x, y = MATRIX_MARGIN + index % across * (each + MATRIX_GAP), DIFFERENCE_TOP + index // across * down
        shares = shares_of(counted.counts)
        ends = None if intervals == "none" else counted.intervals
        lines, legend = cells_of(counted.counts, shares, ends, grid.side, show=show, everywhere=intervals == "all")
        _draw_headings(sheet, x, y, each, counted.name, counted.accuracy)
        draw_grid(sheet, x, y + HEADING_HEIGHT, grid, totals, classes, colored_cells(shares), lines)
    canvas.colour_bar(sheet, MATRIX_MARGIN, foot, 1.2, COLORMAP, ("0 %", "50 %", "100 %"))
    for line, note in enumerate(canvas.wrap_text(legend, room=TEXT_WIDTH - 2 * MATRIX_MARGIN - 1.4, size=6, most=2)):
        canvas.add_text(
            sheet,
            MATRIX_MARGIN + 1.4,
            foot - 0.02 + 0.105 * line,
            note,
            room=TEXT_WIDTH - 2 * MATRIX_MARGIN - 1.4,
            size=6,
        )
    if differ:
        _difference(sheet, matrices[0], matrices[1], classes, MATRIX_MARGIN, below, each)
        _write_notes(sheet, notes, MATRIX_MARGIN + each + MATRIX_GAP, below + 0.02, each)
    else:
        _write_notes(sheet, notes, MATRIX_MARGIN, below, TEXT_WIDTH - 2 * MATRIX_MARGIN)
    return sheet


def difference_figure(first: LabelledMatrix, second: LabelledMatrix) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Subtract the shares of the second from the first's, and find where their intervals do not meet.

    Returns:
        [K,K] from -1 to 1, nan in rows without faces; [K,K] bool, all false where one has no intervals. That two 95 %
        intervals do not meet is a stricter test than that of the difference. Where none or all of n faces are in a
        cell, for which a bootstrap is uninformative, the interval ends 3 / n from there (Hanley and Lippman-Hand 1983).
    """
    change = shares_of(first.counts) - shares_of(second.counts)
    if first.intervals is None or second.intervals is None:
        return change, np.zeros(change.shape, dtype=bool)
    one, other = (
        _difference_interval(first.counts, first.intervals),
        _difference_interval(second.counts, second.intervals),
    )
    return change, (one[..., 1] < other[..., 0]) | (other[..., 1] < one[..., 0])


def _difference_interval(counts: NDArray[Any], intervals: NDArray[Any]) -> NDArray[np.float64]:
    totals = np.maximum(counts.sum(1, keepdims=True), 1)
    low = np.where(counts == totals, np.maximum(1 - 3 / totals, 0), intervals[..., 0])
    high = np.where(counts == 0, np.minimum(3 / totals, 1), intervals[..., 1])
    return np.stack([low, high], -1)


def format_points(change: float) -> str:
    """Format a change of a share in whole percentage points, with its sign: ``+12``, ``0``."""
    text = f"{100 * change:+.0f}".replace("-", "\N{MINUS SIGN}")
    return "0" if text[1:] == "0" else text


def largest_differences(
    first: LabelledMatrix, second: LabelledMatrix, classes: Sequence[str], most: int = 3
) -> list[str]:
    """Describe the cells that differ most: ``fear called sad: +12 points``."""
    change = np.nan_to_num(difference_figure(first, second)[0])
    order = np.argsort(-np.abs(change), axis=None, kind="stable")[:most]
    cells = [divmod(int(index), len(classes)) for index in order if change.flat[index]]
    return [f"{_cell_text(row, column, classes)}: {format_points(change[row, column])} points" for row, column in cells]


def _cell_text(row: int, column: int, classes: Sequence[str]) -> str:
    return f"{classes[row]} recalled" if row == column else f"{classes[row]} called {classes[column]}"


def _difference(
    sheet: Sheet, first: LabelledMatrix, second: LabelledMatrix, classes: Sequence[str], x: float, y: float, room: float
) -> None:
    change, apart = difference_figure(first, second)
    totals = first.counts.sum(1)
    grid = grid_of(totals, classes, room=room)
    most = max(5, math.ceil(20 * float(np.nanmax(np.abs(change), initial=0))) * 5)
    position = np.nan_to_num(50 * change / most) + 0.5
    colours = colormaps[DIVERGING](position, bytes=True)[..., :3]
    note = "percentage points; framed where the two intervals do not meet"
    _draw_headings(sheet, x, y, room, f"{first.name} less {second.name}", note)
    every = range(len(classes))
    texts = [[format_points(change[row, column]) if totals[row] else "" for column in every] for row in every]
    size = max(SMALLEST_TYPE, min(7.5, 14 * grid.side))
    draw_grid(sheet, x, y + HEADING_HEIGHT, grid, totals, classes, colours, [(texts, size)])
    _draw_frame(sheet, x + grid.left, y + HEADING_HEIGHT + grid.top, grid.side, apart)
    foot = y + HEADING_HEIGHT + grid.top + len(classes) * grid.side + 0.12
    ends = f"\N{MINUS SIGN}{most}", "0", f"+{most} points"
    canvas.colour_bar(sheet, x, foot, 1.2, DIVERGING, ends)


def _draw_frame(sheet: Sheet, left: float, top: float, side: float, framed: NDArray[np.bool_]) -> None:
    width, height = sheet.get_size_inches()
    for row, column in np.argwhere(framed):
        corner = ((left + (column + 0.06) * side) / width, 1 - (top + (row + 0.94) * side) / height)
        style: dict[str, Any] = {"fill": False, "linewidth": 0.7, "edgecolor": "#333333", "linestyle": (0, (1.5, 1))}
        sheet.add_artist(Rectangle(corner, 0.88 * side / width, 0.88 * side / height, zorder=5, **style))


def _draw_headings(sheet: Sheet, x: float, y: float, room: float, name: str, note: str) -> None:
    canvas.add_text(sheet, x, y, name, room=room, size=7.5, fontweight="bold")
    canvas.add_text(sheet, x, y + 0.135, note, room=room, size=6.5, color=FAINT_COLOR)


def _write_notes(sheet: Sheet, notes: Sequence[tuple[str, list[str]]], x: float, y: float, room: float) -> None:
    for name, lines in notes:
        canvas.add_text(sheet, x, y, name, room=room, size=6.5, fontweight="bold")
        for index, line in enumerate(lines, 1):
            canvas.add_text(sheet, x, y + LINE * index, line, room=room, size=6.5)
        y += LINE * (1 + len(lines)) + BETWEEN


def _heading_lines(sentences: Sequence[str], room: float) -> list[str]:
    return [line for text in sentences for line in canvas.wrap_text(text, room=room, size=6.5, most=3)]
