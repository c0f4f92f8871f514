"""A confusion matrix for a paper: how the faces of each class were classified, in per cent and in faces.

White to blue, darker for more: brightness is monotone in the share, so that it can be read in grey and by the
colour-blind. All lengths are in inches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
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
from fervis.visualizers.figures.canvas import FAINT_COLOR, SMALLEST_TYPE, Sheet

MATRIX_WIDTH = 6.5  # the text width of a paper
NARROWEST = 3.4  # one column of two
MATRIX_MARGIN = 0.05
COLORMAP = "Blues"
MATRIX_TOP = 0.4  # below the title
NAME_HEIGHT = 1.15  # a class's name gets no more room
CellTexts = list[list[str]]  # a line of text of each cell


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
        dpi: dots an inch.

    Returns:
        The picture and a caption that says its accuracy, the best and the worst recall and the largest confusion: the
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
    with canvas.plain_style():
        canvas.save_figure(matrix(counts, classes, title=title, intervals=intervals, dpi=dpi), path, dpi)
    return Figure(path, _matrix_caption(counts, classes, title, intervals))


@dataclass(frozen=True)
class MatrixGrid:
    """Lengths of a matrix with the names of its classes, from the upper left corner of the whole.

    Attributes:
        side: of a cell.
        left: where the cells begin.
        top: where the cells begin.
        names: width of the names beside the rows.
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
    """The lengths of a matrix in this room, for classes with so many faces; cells are at most 0.62 inches wide."""
    longest = max(_matrix_width(name, 7) for name in classes)
    names = max(min(NAME_HEIGHT, longest), max(_matrix_width(_size(total), 6) for total in totals))
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
        sheet: where.
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
    beside = left - grid.names - 0.16
    aside = canvas.add_text(sheet, beside, middle, "true class", room=2, ha="center", va="center", color=FAINT_COLOR)
    aside.set_rotation(90)
    canvas.add_image(sheet, left, top, size * side, colours)
    _grid_lines(sheet, left, top, side, totals)
    for index, name in enumerate(classes):
        centre, room = left + (index + 0.5) * side, grid.heads if grid.upright else side
        head = canvas.add_text(sheet, centre, top - 0.05, name, room=room, ha="center", va="bottom")
        head.set_rotation(90 if grid.upright else 0)
        middle = top + (index + 0.5) * side
        # Of two lines the name must be nearer to its own number than to the one above, in low rows too.
        apart = min(1.0, side / 0.25)
        right: dict[str, Any] = {"ha": "right", "va": "center", "room": grid.names}
        canvas.add_text(sheet, left - 0.07, middle - 0.055 * apart, name, **right)
        canvas.add_text(
            sheet, left - 0.07, middle + 0.06 * apart, _size(totals[index]), size=6, color=FAINT_COLOR, **right
        )
        if not totals[index]:
            centre, room = left + size * side / 2, size * side
            canvas.add_text(sheet, centre, middle, "no face", room=room, ha="center", va="center", color=FAINT_COLOR)
    _write_cells(sheet, left, top, side, colours, lines)


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
    """The sheet that ``draw_confusion`` saves.

    Args:
        counts: as there.
        classes: as there.
        title: as there.
        intervals: as there.
        dpi: as there.
        show: what a cell says: ``share``, ``counts`` or ``both``.
        everywhere: whether the intervals of all cells are written, not of the diagonal alone.
        subtitle: the line below the title; by default the accuracy.
        words: lines at the foot, such as the best and the worst cells.
    """
    size, totals, shares = len(classes), counts.sum(1), shares_of(counts)
    grid = grid_of(totals, classes, room=MATRIX_WIDTH - 2 * MATRIX_MARGIN)
    foot = MATRIX_TOP + grid.top + size * grid.side + 0.08
    cells = grid.left + size * grid.side
    width = max(cells + 2 * MATRIX_MARGIN, NARROWEST)
    left = (
        MATRIX_MARGIN + (width - 2 * MATRIX_MARGIN - cells) / 2
    )  # centred where the title needs more room than the cells
    lines, legend = cells_of(counts, shares, intervals, grid.side, show=show, everywhere=everywhere)
    room = width - 2 * MATRIX_MARGIN
    notes = canvas.wrap_text(legend, room=room - 1.4, size=6, most=3)
    said = [line for text in words for line in canvas.wrap_text(text, room=room, size=6.5, most=4)]
    below = foot + max(0.27, 0.105 * len(notes) + 0.06)
    sheet = canvas.new_figure(width, below + 0.12 * len(said) + (0.06 if said else 0), dpi)

    canvas.add_text(sheet, MATRIX_MARGIN, 0.03, title, room=room, size=8.5, fontweight="bold")
    canvas.add_text(sheet, MATRIX_MARGIN, 0.185, subtitle or _accuracy(counts), room=room, size=7.5)
    draw_grid(sheet, left, MATRIX_TOP, grid, totals, classes, colored_cells(shares), lines)
    canvas.colour_bar(sheet, MATRIX_MARGIN, foot, 1.2, COLORMAP, ("0 %", "50 %", "100 %"))
    for index, note in enumerate(notes):
        canvas.add_text(sheet, MATRIX_MARGIN + 1.4, foot - 0.02 + 0.105 * index, note, room=room - 1.4, size=6)
    for index, line in enumerate(said):
        canvas.add_text(sheet, MATRIX_MARGIN, below + 0.02 + 0.12 * index, line, room=room, size=6.5)
    return sheet


def _write_cells(
    sheet: Sheet,
    left: float,
    top: float,
    side: float,
    colours: NDArray[np.uint8],
    lines: Sequence[tuple[CellTexts, float]],
) -> None:
    """Write each cell's lines into its middle."""
    for row, column in np.ndindex(*colours.shape[:2]):
        here = [(texts[row][column], points) for texts, points in lines if texts[row][column]]
        ink = ink_on(colours[row, column] / 255)
        x, base = (
            left + (column + 0.5) * side,
            top + (row + 0.5) * side - _matrix_height(points for _, points in here) / 2,
        )
        for text, points in here:
            base += _matrix_height([points])
            looks: dict[str, Any] = {"ha": "center", "va": "baseline", "color": ink}
            canvas.add_text(sheet, x, base - 0.2 * points / 72, text, room=side, size=points, **looks)


def text_colour(share: float) -> str:
    """Black or white, whichever has more contrast (WCAG 2) with the colour of this share."""
    return ink_on(canvas.colormaps[COLORMAP](share)[:3])


def ink_on(colour: Iterable[float]) -> str:
    """Black or white, whichever has more contrast (WCAG 2) with an sRGB colour of three parts in [0, 1]."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour]
    luminance = float(np.dot(linear, (0.2126, 0.7152, 0.0722)))
    return "black" if (luminance + 0.05) / 0.05 >= 1.05 / (luminance + 0.05) else "white"


def format_percent(count: int, total: int) -> str:
    """A share in whole per cent, where few are not none and nearly all are not all: ``<1``, ``17``, ``>99``."""
    share = 100 * count / total
    return "<1" if 0 < share < 0.5 else ">99" if 99.5 <= share < 100 else f"{share:.0f}"


def shares_of(counts: NDArray[Any]) -> NDArray[np.float64]:
    """Each cell's share of its row; nan in a row without faces."""
    totals = counts.sum(1, keepdims=True)
    return np.divide(counts, totals, out=np.full(counts.shape, np.nan), where=totals > 0)


def colored_cells(shares: NDArray[Any]) -> NDArray[np.uint8]:
    """[K,K,3] the colours of the shares; white in a row without faces."""
    pixels = canvas.colormaps[COLORMAP](np.nan_to_num(shares), bytes=True)[..., :3]
    return np.where(np.isnan(shares)[..., None], np.uint8(255), pixels)


def _grid_lines(sheet: Sheet, left: float, top: float, side: float, totals: NDArray[Any]) -> None:
    """Thin lines between the cells, a frame about each of the diagonal, nothing where a class has no face."""
    width, height = sheet.get_size_inches()
    size = len(totals)

    def box(row: int, column: int, columns: int, **looks: Any) -> None:
        corner = ((left + column * side) / width, 1 - (top + (row + 1) * side) / height)
        sheet.add_artist(Rectangle(corner, columns * side / width, side / height, **looks))

    for index in range(size + 1):
        x, y = (left + index * side) / width, 1 - (top + index * side) / height
        ends = (left / width, (left + size * side) / width), (1 - top / height, 1 - (top + size * side) / height)
        sheet.add_artist(Line2D(ends[0], [y, y], color="#CCCCCC", linewidth=0.4))
        sheet.add_artist(Line2D([x, x], ends[1], color="#CCCCCC", linewidth=0.4))
    for index, total in enumerate(totals):
        if total:
            box(index, index, 1, linewidth=0.9, edgecolor="black", fill=False, zorder=4)
        else:
            box(index, 0, size, linewidth=0.4, edgecolor="#CCCCCC", facecolor="white", zorder=2.5)


def cells_of(
    counts: NDArray[Any],
    shares: NDArray[Any],
    intervals: NDArray[Any] | None,
    side: float,
    *,
    show: str = "both",
    everywhere: bool = False,
) -> tuple[list[tuple[CellTexts, float]], str]:
    """The lines of text of all cells with their size in points, and a sentence that says what they are."""
    totals = counts.sum(1)

    def texts(of: Callable[[int, int], str]) -> CellTexts:
        every = range(len(counts))
        return [[of(row, column) if totals[row] else "" for column in every] for row in every]

    def interval(row: int, column: int) -> str:
        if intervals is None or (row != column and not everywhere):
            return ""
        low, high = intervals[row, column]
        # A bootstrap of none or all of the faces gives 0 to 0 or 100 to 100, as if nothing else could be.
        if not low < high:
            return ""
        return f"{100 * low:.0f}\N{EN DASH}{100 * high:.0f}" if high >= 0.005 else "<1"

    large, small = max(5.5, min(8.5, 14 * side)), max(SMALLEST_TYPE, min(6.0, 10 * side))
    none = "0" if show == "counts" else ""  # beside a share of 0 it would say the same twice
    faces = texts(lambda row, column: f"{counts[row, column]:,}" if counts[row, column] else none)
    share = texts(lambda row, column: format_percent(counts[row, column], totals[row]))
    where = "" if everywhere else " (diagonal)"
    asked = {
        "share": [("per cent of the true class", large, share)],
        "counts": [("number of faces", large, faces)],
        "both": [("per cent of the true class", large, share), ("number of faces", small, faces)],
    }[show] + [(f"95 % interval of the percentage{where}", small, texts(interval))]
    lines, said = [], []
    for what, wanted, those in asked:
        widest = max(_matrix_width(text, 10) for text in {text for row in those for text in row})
        points = min(wanted, 10 * (side - 0.02) / widest) if widest else 0.0
        if points >= SMALLEST_TYPE and _matrix_height([points, *(points for _, points in lines)]) <= side:
            lines.append((those, points))
            said.append(what)
    if not said:
        return lines, "The cells have no room for numbers."
    colour = " Colour: per cent of the true class." if show == "counts" else ""
    return lines, f"A cell{', from above' * (len(said) > 1)}: {'; '.join(said)}.{colour}"


def _matrix_height(points: Iterable[float]) -> float:
    """Height in inches of lines of digits in these sizes."""
    return 1.12 * sum(points) / 72


def _matrix_width(text: str, points: float) -> float:
    probe = canvas.new_figure(1, 1, 100).text(0, 0, text, fontsize=points, parse_math=False)
    return probe.get_window_extent().width / 100 if text else 0.0


def _size(total: int) -> str:
    return f"n = {total:,}"


def _accuracy(counts: NDArray[Any]) -> str:
    right, total = int(np.trace(counts)), int(counts.sum())
    return f"accuracy {100 * right / total:.1f} % ({right:,} of {total:,} faces)" if total else "no face"


def _matrix_caption(counts: NDArray[Any], classes: Sequence[str], title: str, intervals: NDArray[Any] | None) -> str:
    totals, shares = counts.sum(1), shares_of(counts)

    def of(index: int) -> str:
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
            who = " and ".join(of(int(index)) for index in np.flatnonzero(recalls == value))
            sentences.append(f"{word} recall: {100 * value:.1f} %, {who}")
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
