"""A leaderboard: a row per method, a panel per measure with a dot and the whisker of its interval."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from fervis.core.intervals import Interval
from fervis.visualizers.figures import canvas
from fervis.visualizers.figures.axes import add_axes
from fervis.visualizers.figures.canvas import Sheet
from fervis.visualizers.figures.style import BLUE, GREY, MARGIN, TEXT_WIDTH

_ROW, _HEAD, _FOOT, _NUMBER, _LABEL, _GAP = 0.145, 0.55, 0.3, 0.17, 1.35, 0.16  # inches


def draw_leaderboard(
    title: str,
    methods: Sequence[str],
    scores: Mapping[str, Mapping[str, Interval]],
    higher: Mapping[str, bool],
    baselines: Sequence[str],
    dpi: int,
) -> Sheet:
    """Draw the scores of methods, best first.

    Args:
        title: of the sheet.
        methods: in the order of the rows.
        scores: measure -> method -> score.
        higher: whether higher scores of a measure are better.
        baselines: those of the methods that do not depend on the network, which are grey.
        dpi: dots per inch.
    """
    height = _HEAD + _ROW * len(methods) + _FOOT
    sheet = canvas.new_figure(TEXT_WIDTH, height, dpi)
    canvas.add_heading(sheet, title)
    for row, method in enumerate(methods):
        color = GREY if method in baselines else "black"
        middle, names = _HEAD + _ROW * (row + 0.5), MARGIN + _NUMBER
        canvas.add_text(
            sheet, names - 0.06, middle, str(row + 1), room=_NUMBER, size=6.5, color=color, va="center", ha="right"
        )
        canvas.add_text(sheet, names, middle, method, room=_LABEL - names, size=6.5, color=color, va="center")
    width = (TEXT_WIDTH - MARGIN - _LABEL) / max(1, len(scores)) - _GAP
    for panel, (measure, of_methods) in enumerate(scores.items()):
        left = _LABEL + panel * (width + _GAP)
        axes = add_axes(sheet, left, _HEAD, width, _ROW * len(methods), grid="x")
        for row, method in enumerate(methods):
            score = of_methods.get(method, Interval(math.nan))
            color = GREY if method in baselines else BLUE
            if math.isfinite(score.low):
                axes.plot([score.low, score.high], [row, row], color=color, linewidth=0.9)
            axes.plot([score.value], [row], "o", color=color, markersize=2.6)
        axes.set_ylim(len(methods) - 0.5, -0.5)
        axes.set_yticks([])
        axes.locator_params(axis="x", nbins=3)
        canvas.add_text(sheet, left, _HEAD - 0.26, measure.replace("_", " "), room=width, size=6.5, va="bottom")
        better = "higher is better" if higher[measure] else "lower is better"
        canvas.add_text(sheet, left, _HEAD - 0.12, better, room=width, size=5.5, color=GREY, va="bottom")
    return sheet
