"""How far methods agree: a matrix with a row and a column per method."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from fervis.core.intervals import Interval
from fervis.visualizers.figures import canvas
from fervis.visualizers.figures.canvas import Sheet
from fervis.visualizers.figures.matrix_cells import colored_cells, write_cells
from fervis.visualizers.figures.style import GREY, MARGIN, TEXT_WIDTH

_HEAD, _LABEL, _LARGEST, _ASIDE = 1.15, 1.3, 0.42, 0.45  # inches; the last label of a column leans aside
LOWER, UPPER = "rank_correlation", "feature_agreement"


def draw_agreement(
    title: str, methods: Sequence[str], pairs: Mapping[tuple[str, str], Mapping[str, Interval]], dpi: int
) -> Sheet:
    """Draw ``LOWER`` of each pair below the diagonal and ``UPPER`` above it; darker from 0 to 1.

    Args:
        title: of the sheet.
        methods: in the order of rows and columns.
        pairs: earlier and later method -> name of a measure -> mean.
        dpi: dots per inch.
    """
    count = len(methods)
    side = min(_LARGEST, (TEXT_WIDTH - 2 * MARGIN - _LABEL - _ASIDE) / count)
    values = np.full((count, count), np.nan)
    for (one, other), scores in pairs.items():
        first, second = methods.index(one), methods.index(other)
        values[second, first], values[first, second] = scores[LOWER].value, scores[UPPER].value
    sheet = canvas.new_figure(TEXT_WIDTH, _HEAD + side * count + 0.1, dpi)
    canvas.add_heading(sheet, title)
    words = "below the diagonal: rank correlation; above it: share of the strongest pixels in common"
    canvas.add_text(sheet, MARGIN, 0.2, words, room=TEXT_WIDTH - 2 * MARGIN, size=6.0, color=GREY)
    left = MARGIN + _LABEL
    for number, method in enumerate(methods):
        middle = (number + 0.5) * side
        canvas.add_text(sheet, MARGIN, _HEAD + middle, method, room=_LABEL - 0.05, size=6.5, va="center")
        style = {"rotation": 45, "rotation_mode": "anchor", "va": "bottom", "ha": "left"}
        canvas.add_text(sheet, left + middle, _HEAD - 0.05, method, room=_LABEL, size=6.0, **style)
    colours = colored_cells(values.clip(0, 1))
    for row, column in np.ndindex(count, count):
        canvas.add_image(sheet, left + column * side, _HEAD + row * side, side, colours[row, column][None, None])
    texts = [["" if math.isnan(value) else f"{value:.2f}" for value in row] for row in values.tolist()]
    write_cells(sheet, left, _HEAD, side, colours, [(texts, max(4.5, min(7.0, 18 * side)))])
    return sheet
