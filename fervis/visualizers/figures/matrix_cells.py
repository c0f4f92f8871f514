"""The cells of a confusion matrix: colours, the lines of text in them, and the size of type that fits.

White to blue, darker for more: brightness is monotone in the share, so that it can be read in grey and by the
colour-blind. All lengths are in inches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray

from fervis.visualizers.figures import canvas
from fervis.visualizers.figures.canvas import Sheet
from fervis.visualizers.figures.style import SMALLEST_TYPE

COLORMAP = "Blues"
LARGE_TYPE, SMALL_TYPE = (5.5, 8.5, 14), (SMALLEST_TYPE, 6.0, 10)  # points: least, most, per inch of a cell's side
CellTexts = list[list[str]]
"""One line of text of each cell."""


def shares_of(counts: NDArray[Any]) -> NDArray[np.float64]:
    """Divide each cell by the sum of its row; nan in a row without faces."""
    totals = counts.sum(1, keepdims=True)
    return np.divide(counts, totals, out=np.full(counts.shape, np.nan), where=totals > 0)


def colored_cells(shares: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the colours [K,K,3] of the shares; white in a row without faces."""
    pixels = colormaps[COLORMAP](np.nan_to_num(shares), bytes=True)[..., :3]
    return np.where(np.isnan(shares)[..., None], np.uint8(255), pixels)


def text_colour(share: float) -> str:
    """Return black or white, whichever has more contrast (WCAG 2) with the colour of this share."""
    return ink_on(colormaps[COLORMAP](share)[:3])


def ink_on(colour: Iterable[float]) -> str:
    """Return black or white, whichever has more contrast (WCAG 2) with an sRGB colour of three parts in [0, 1]."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour]
    luminance = float(np.dot(linear, (0.2126, 0.7152, 0.0722)))
    return "black" if (luminance + 0.05) / 0.05 >= 1.05 / (luminance + 0.05) else "white"


def format_percent(count: int, total: int) -> str:
    """Format a share in whole per cent, so that few are not none and nearly all not all: ``<1``, ``17``, ``>99``."""
    share = 100 * count / total
    return "<1" if 0 < share < 0.5 else ">99" if 99.5 <= share < 100 else f"{share:.0f}"


def cells_of(
    counts: NDArray[Any],
    shares: NDArray[Any],
    intervals: NDArray[Any] | None,
    side: float,
    *,
    show: str = "both",
    everywhere: bool = False,
) -> tuple[list[tuple[CellTexts, float]], str]:
    """Choose the lines of text of the cells, one style for all of them.

    The candidates are, in order of importance, the share, the number of faces and the interval, as far as ``show`` and
    ``intervals`` ask for them. A line is taken if its widest text fits a cell of this side in type of at least
    ``SMALLEST_TYPE``, and if all lines taken so far are together no higher than the cell. With 0.02 inches left free,
    a text that is w inches wide in type of 10 points fits in type of 10 (side - 0.02) / w points, since widths grow
    linearly with the size of type; it is written in that size or in the one wanted, whichever is smaller.

    Returns:
        The lines from above with their size in points, and a sentence that describes them.
    """
    totals = counts.sum(1)

    def texts(of: Callable[[int, int], str]) -> CellTexts:
        every = range(len(counts))
        return [[of(row, column) if totals[row] else "" for column in every] for row in every]

    large, small = (max(least, min(most, factor * side)) for least, most, factor in (LARGE_TYPE, SMALL_TYPE))
    none = "0" if show == "counts" else ""  # below a share of 0 it would say the same twice
    faces = texts(lambda row, column: f"{counts[row, column]:,}" if counts[row, column] else none)
    share = texts(lambda row, column: format_percent(counts[row, column], totals[row]))
    ends = texts(lambda row, column: _interval_text(intervals, row, column) if everywhere or row == column else "")
    candidates = {
        "share": [("per cent of the true class", large, share)],
        "counts": [("number of faces", large, faces)],
        "both": [("per cent of the true class", large, share), ("number of faces", small, faces)],
    }[show] + [(f"95 % interval of the percentage{'' if everywhere else ' (diagonal)'}", small, ends)]
    lines, names = [], []
    for name, wanted, cells in candidates:
        widest = max(type_width(text, 10) for text in {text for row in cells for text in row})
        points = min(wanted, 10 * (side - 0.02) / widest) if widest else 0.0
        if points >= SMALLEST_TYPE and _type_height([points, *(points for _, points in lines)]) <= side:
            lines.append((cells, points))
            names.append(name)
    if not names:
        return lines, "The cells have no room for numbers."
    colour = " Colour: per cent of the true class." if show == "counts" else ""
    return lines, f"A cell{', from above' * (len(names) > 1)}: {'; '.join(names)}.{colour}"


def _interval_text(intervals: NDArray[Any] | None, row: int, column: int) -> str:
    low, high = (np.nan, np.nan) if intervals is None else intervals[row, column]
    # A bootstrap of none or all of the faces gives 0 to 0 or 100 to 100, as if nothing else could be.
    if not low < high:
        return ""
    return f"{100 * low:.0f}\N{EN DASH}{100 * high:.0f}" if high >= 0.005 else "<1"


def write_cells(
    sheet: Sheet,
    left: float,
    top: float,
    side: float,
    colours: NDArray[np.uint8],
    lines: Sequence[tuple[CellTexts, float]],
) -> None:
    """Write each cell's lines into its middle."""
    for row, column in np.ndindex(*colours.shape[:2]):
        own = [(texts[row][column], points) for texts, points in lines if texts[row][column]]
        ink = ink_on(colours[row, column] / 255)
        x, base = (
            left + (column + 0.5) * side,
            top + (row + 0.5) * side - _type_height(points for _, points in own) / 2,
        )
        for text, points in own:
            base += _type_height([points])
            style: dict[str, Any] = {"ha": "center", "va": "baseline", "color": ink}
            canvas.add_text(sheet, x, base - 0.2 * points / 72, text, room=side, size=points, **style)


def _type_height(points: Iterable[float]) -> float:
    """Return the height in inches of lines of digits in these sizes."""
    return 1.12 * sum(points) / 72


def type_width(text: str, points: float) -> float:
    """Return the width in inches of a text in this size of type."""
    probe = canvas.new_figure(1, 1, 100).text(0, 0, text, fontsize=points, parse_math=False)
    return probe.get_window_extent().width / 100 if text else 0.0
