"""A confusion matrix for a paper: how the faces of each class were classified, in per cent and in faces.

All lengths are in inches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from fervis.core.results import Figure
from fervis.errors import ConfigError
from fervis.visualizers.figures import canvas
from fervis.visualizers.figures.canvas import Sheet
from fervis.visualizers.figures.matrix_cells import (
    COLORMAP,
    CellTexts,
    cells_of,
    colored_cells,
    shares_of,
    type_width,
    write_cells,
)
from fervis.visualizers.figures.style import FAINT_COLOR, RULE_COLOR, TEXT_WIDTH, plain_style

NARROWEST = 3.4  # one column of two
MATRIX_MARGIN = 0.05
MATRIX_TOP = 0.4  # below the title
NAME_HEIGHT = 1.15  # a class's name gets no more room


def draw_confusion(
    counts: NDArray[Any],
    classes: Sequence[str],
    path: Path,
    *,
    title: str,
    intervals: NDArray[Any] | None = None,
    dpi: int = 300,
) -> Figure:
    """Draw a confusion matrix into a PNG at most 6.5 inches wide; the same numbers give the same bytes.

    Each cell has the share of the true class's faces (per cent, and the colour, 0 to 100 %), below it their number, if
    there are any, and on the diagonal the interval. A line that does not fit the cells in type of 5 points is left out
    of all of them; the foot of the figure names what is there.

    Args:
        counts: [K,K] whole numbers from 0, faces by true class (row) and predicted class (column), K from 2.
        classes: K names.
        path: the PNG to write.
        title: which network on which faces.
        intervals: [K,K,2] lower and upper ends, in [0, 1], of the 95 % intervals of the shares; those of the diagonal
            (the recalls) are used. nan where there is none.
        dpi: dots per inch.

    Returns:
        The picture and a caption that states its accuracy, the best and the worst recall and the largest confusion: the
        cell off the diagonal with the largest share of its true class, of equals the one of the most faces.

    Raises:
        ConfigError: the shapes do not fit each other, or counts are not whole numbers from 0.
    """
    size = len(classes)
    if size < 2 or counts.shape != (size, size) or (intervals is not None and intervals.shape != (size, size, 2)):
        shapes = " and ".join(str(list(array.shape)) for array in (counts, intervals) if array is not None)
        raise ConfigError(
            f"confusion={shapes}: expected [K, K] counts, K from 2, and [K, K, 2] intervals for {size} classes."
        )
    if counts.dtype.kind not in "iu" or counts.min() < 0:
        raise ConfigError(f"confusion={counts.dtype} from {counts.min()}: expected whole numbers from 0.")
    with plain_style():
        canvas.save_figure(matrix(counts, classes, title=title, intervals=intervals, dpi=dpi), path, dpi)
    return Figure(path, _matrix_caption(counts, classes, title, intervals))


@dataclass(frozen=True)
class MatrixGrid:
    """Lengths of a matrix with the names of its classes, from its upper left corner.

    Attributes:
        side: of a cell.
        left: where the cells begin.
        top: where the cells begin.
        names: width of the names next to the rows.
        heads: height of the names above the columns.
        upright: whether these stand upright.
    """

    side: float
    left: float
    top: float
    names: float
    heads: float
    upright: bool


def grid_of(totals: NDArray[Any], classes: Sequence[str], *, room: float) -> MatrixGrid:
    """Compute the lengths of a matrix in this room, for classes with so many faces; cells are at most 0.62 wide."""
    longest = max(type_width(name, 7) for name in classes)
    names = max(min(NAME_HEIGHT, longest), max(type_width(_size(total), 6) for total in totals))
    left = 0.17 + names + 0.07
    side = min(0.62, (room - left) / len(classes))
    upright = longest > side - 0.06
    heads = min(NAME_HEIGHT, longest) if upright else 0.11
    return MatrixGrid(side, left, 0.16 + heads + 0.05, names, heads, upright)


def draw_grid(
    sheet: Sheet,
    x: float,
    y: float,
    grid: MatrixGrid,
    totals: NDArray[Any],
    classes: Sequence[str],
    colours: NDArray[np.uint8],
    lines: Sequence[tuple[CellTexts, float]],
) -> None:
    """Draw a matrix with its names from the corner (x, y).

    Args:
        sheet: to draw on.
        x: of the left end of the whole.
        y: of its top.
        grid: its lengths.
        totals: [K] faces of each class.
        classes: K names.
        colours: [K,K,3] uint8, of the cells.
        lines: the cells' lines of text with their size in points, from above; empty texts take no room.
    """
    size, side, left, top = len(classes), grid.side, x + grid.left, y + grid.top
    canvas.add_text(sheet, left + size * side / 2, y, "predicted class", room=2, ha="center", color=FAINT_COLOR)
    middle = top + size * side / 2
    aside = canvas.add_text(
        sheet, left - grid.names - 0.16, middle, "true class", room=2, ha="center", va="center", color=FAINT_COLOR
    )
    aside.set_rotation(90)
    canvas.add_image(sheet, left, top, size * side, colours)
    _grid_lines(sheet, left, top, side, totals)
    for index, name in enumerate(classes):
        centre, room = left + (index + 0.5) * side, grid.heads if grid.upright else side
        head = canvas.add_text(sheet, centre, top - 0.05, name, room=room, ha="center", va="bottom")
        head.set_rotation(90 if grid.upright else 0)
        middle = top + (index + 0.5) * side
        # The name must be nearer to its own number than to the one above, in low rows too.
        apart = min(1.0, side / 0.25)
        right: dict[str, Any] = {"ha": "right", "va": "center", "room": grid.names}
        canvas.add_text(sheet, left - 0.07, middle - 0.055 * apart, name, **right)
        canvas.add_text(
            sheet, left - 0.07, middle + 0.06 * apart, _size(totals[index]), size=6, color=FAINT_COLOR, **right
        )
        if not totals[index]:
            centre, room = left + size * side / 2, size * side
            canvas.add_text(sheet, centre, middle, "no face", room=room, ha="center", va="center", color=FAINT_COLOR)
    write_cells(sheet, left, top, side, colours, lines)


def matrix(
    counts: NDArray[Any],
    classes: Sequence[str],
    *,
    title: str,
    intervals: NDArray[Any] | None,
    dpi: int,
    show: str = "both",
    everywhere: bool = False,
    subtitle: str | None = None,
    words: Sequence[str] = (),
) -> Sheet:
    """Draw the sheet that ``draw_confusion`` saves.

    Args:
        counts: [K,K] faces by true class (row) and predicted class (column).
        classes: K names.
        title: which network on which faces.
        intervals: [K,K,2] ends of the 95 % intervals of the shares, or None.
        dpi: dots per inch.
        show: the text of a cell: ``share``, ``counts`` or ``both``.
        everywhere: whether the intervals of all cells are written, instead of the diagonal's alone.
        subtitle: the line below the title; by default the accuracy.
        words: lines at the foot, such as the best and the worst cells.
    """
    size, totals, shares = len(classes), counts.sum(1), shares_of(counts)
    grid = grid_of(totals, classes, room=TEXT_WIDTH - 2 * MATRIX_MARGIN)
    foot = MATRIX_TOP + grid.top + size * grid.side + 0.08
    cells = grid.left + size * grid.side
    width = max(cells + 2 * MATRIX_MARGIN, NARROWEST)
    left = (
        MATRIX_MARGIN + (width - 2 * MATRIX_MARGIN - cells) / 2
    )  # centred where the title needs more room than the cells
    lines, legend = cells_of(counts, shares, intervals, grid.side, show=show, everywhere=everywhere)
    room = width - 2 * MATRIX_MARGIN
    notes = canvas.wrap_text(legend, room=room - 1.4, size=6, most=3)
    sentences = [line for text in words for line in canvas.wrap_text(text, room=room, size=6.5, most=4)]
    below = foot + max(0.27, 0.105 * len(notes) + 0.06)
    sheet = canvas.new_figure(width, below + 0.12 * len(sentences) + (0.06 if sentences else 0), dpi)

    canvas.add_heading(sheet, title, margin=MATRIX_MARGIN)
    canvas.add_text(sheet, MATRIX_MARGIN, 0.185, subtitle or _accuracy(counts), room=room, size=7.5)
    draw_grid(sheet, left, MATRIX_TOP, grid, totals, classes, colored_cells(shares), lines)
    canvas.colour_bar(sheet, MATRIX_MARGIN, foot, 1.2, COLORMAP, ("0 %", "50 %", "100 %"))
    for index, note in enumerate(notes):
        canvas.add_text(sheet, MATRIX_MARGIN + 1.4, foot - 0.02 + 0.105 * index, note, room=room - 1.4, size=6)
    for index, line in enumerate(sentences):
        canvas.add_text(sheet, MATRIX_MARGIN, below + 0.02 + 0.12 * index, line, room=room, size=6.5)
    return sheet


def _grid_lines(sheet: Sheet, left: float, top: float, side: float, totals: NDArray[Any]) -> None:
    """Draw thin lines between the cells and a frame around each of the diagonal, nothing where a class has no face."""
    width, height = sheet.get_size_inches()
    size = len(totals)

    def box(row: int, column: int, columns: int, **looks: Any) -> None:
        corner = ((left + column * side) / width, 1 - (top + (row + 1) * side) / height)
        sheet.add_artist(Rectangle(corner, columns * side / width, side / height, **looks))

    for index in range(size + 1):
        x, y = (left + index * side) / width, 1 - (top + index * side) / height
        ends = (left / width, (left + size * side) / width), (1 - top / height, 1 - (top + size * side) / height)
        sheet.add_artist(Line2D(ends[0], [y, y], color=RULE_COLOR, linewidth=0.4))
        sheet.add_artist(Line2D([x, x], ends[1], color=RULE_COLOR, linewidth=0.4))
    for index, total in enumerate(totals):
        if total:
            box(index, index, 1, linewidth=0.9, edgecolor="black", fill=False, zorder=4)
        else:
            box(index, 0, size, linewidth=0.4, edgecolor=RULE_COLOR, facecolor="white", zorder=2.5)


def _size(total: int) -> str:
    return f"n = {total:,}"


def _accuracy(counts: NDArray[Any]) -> str:
    right, total = int(np.trace(counts)), int(counts.sum())
    return f"accuracy {100 * right / total:.1f} % ({right:,} of {total:,} faces)" if total else "no face"


def _matrix_caption(counts: NDArray[Any], classes: Sequence[str], title: str, intervals: NDArray[Any] | None) -> str:
    totals, shares = counts.sum(1), shares_of(counts)

    def describe(index: int) -> str:
        text = f"{classes[index]} (n = {totals[index]:,}"
        if intervals is not None and np.isfinite(intervals[index, index]).all():
            text += ", 95 % interval {:.1f} to {:.1f} %".format(*(100 * intervals[index, index]))
        return text + ")"

    sentences = [
        f"{title}. Confusion matrix: rows are true classes, columns predicted ones, each row in per cent of its faces",
        _accuracy(counts).capitalize(),
    ]
    recalls = np.diagonal(shares)
    for word, extreme in (("Best", np.nanmax), ("Worst", np.nanmin)):
        if totals.any():
            value = extreme(recalls)
            named = " and ".join(describe(int(index)) for index in np.flatnonzero(recalls == value))
            sentences.append(f"{word} recall: {100 * value:.1f} %, {named}")
    wrong = [
        (float(shares[row, column]), int(counts[row, column]), -row, -column)
        for row, column in np.argwhere(counts)
        if row != column
    ]
    if wrong:
        share, count, row, column = max(wrong)
        sentences.append(
            f"Largest confusion: {classes[-row]} taken for {classes[-column]}, {100 * share:.1f} % "
            f"({count:,} of {totals[-row]:,})"
        )
    elif totals.any():
        sentences.append("No face is confused")
    if empty := [name for name, total in zip(classes, totals, strict=True) if not total]:
        sentences.append(f"Without a face: {', '.join(empty)}")
    return ". ".join(sentences) + "."
