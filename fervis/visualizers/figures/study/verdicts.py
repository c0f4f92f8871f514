"""Verdicts: a row per statement under its claim, a column per method and control with a mark, the verdict in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.lines import Line2D

from fervis.visualizers.figures import canvas
from fervis.visualizers.figures.axes import add_axes
from fervis.visualizers.figures.canvas import Sheet
from fervis.visualizers.figures.style import BLUE, FAINT_COLOR, GREY, MARGIN, RED, RULE_COLOR, TEXT_WIDTH

_ROW, _CLAIM_LINE, _HEAD, _FOOT = 0.155, 0.115, 1.0, 0.28  # inches
_TEXT, _VERDICT = 2.75, 1.45
MARKS: Mapping[str, Mapping[str, Any]] = {
    "supported": {"marker": "o", "color": BLUE},
    "contrary": {"marker": "X", "color": RED},
    "not shown": {"marker": "o", "color": GREY, "fillstyle": "none"},
}
_MARK: dict[str, Any] = {"markeredgewidth": 0.7, "linestyle": ""}
_COLORS = {"supported": BLUE, "contrary": RED}


@dataclass(frozen=True)
class VerdictRow:
    """A statement on the sheet.

    Attributes:
        claim: number of its claim, from 1.
        text: the statement.
        verdict: in words.
        cells: column -> verdicts of its cases, one mark each.
    """

    claim: int
    text: str
    verdict: str
    cells: Mapping[str, Sequence[str]]


def draw_verdicts(
    title: str,
    claims: Sequence[str],
    rows: Sequence[VerdictRow],
    columns: Sequence[str],
    controls: Sequence[str],
    dpi: int,
) -> Sheet:
    """Draw the verdicts of statements.

    Args:
        title: of the sheet.
        claims: their texts, from claim 1.
        rows: statements, in the order of their claims.
        columns: methods, then controls.
        controls: those of the columns that are controls, whose names are grey.
        dpi: dots per inch.
    """
    lines = [
        canvas.wrap_text(f"{n}  {text}", room=TEXT_WIDTH - 0.3, size=6.0, most=4) for n, text in enumerate(claims, 1)
    ]
    height = _HEAD + _ROW * len(rows) + sum(_CLAIM_LINE * len(some) + 0.09 for some in lines) + _FOOT
    sheet = canvas.new_figure(TEXT_WIDTH, height, dpi)
    canvas.add_heading(sheet, title)
    middles, top = _write_rows(sheet, lines, rows)
    width = TEXT_WIDTH - _TEXT - _VERDICT - MARGIN
    step = width / max(1, len(columns))
    axes = add_axes(sheet, _TEXT, 0, width, height)
    axes.set_axis_off()
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    for number, column in enumerate(columns):
        middle = step * (number + 0.5)
        color = GREY if column in controls else "black"
        axes.text(middle, _HEAD - 0.06, column, rotation=60, fontsize=6, color=color, ha="left", va="bottom")
        for row, y in zip(rows, middles, strict=True):
            marks = row.cells.get(column, ())
            apart = min(0.09, 0.9 * step / max(1, len(marks)))
            for place, verdict in enumerate(marks):
                x = middle + apart * (place - (len(marks) - 1) / 2)
                axes.plot([x], [y], markersize=min(3.6, 55 * apart), **_MARK, **MARKS[verdict])
    _write_key(sheet, top + 0.14)
    return sheet


def _write_rows(sheet: Sheet, lines: Sequence[Sequence[str]], rows: Sequence[VerdictRow]) -> tuple[list[float], float]:
    """Write claims, statements and verdicts; return the middle of each statement's line, and where the last ends."""
    middles, top = [], _HEAD
    for number, claim in enumerate(lines, 1):
        _rule_above(sheet, top + 0.02)
        top += 0.05
        for line in claim:
            canvas.add_text(sheet, MARGIN, top, line, room=TEXT_WIDTH, size=6.0, color=FAINT_COLOR)
            top += _CLAIM_LINE
        top += 0.04
        for row in (row for row in rows if row.claim == number):
            middle = top + _ROW / 2
            canvas.add_text(sheet, 0.17, middle, row.text, room=_TEXT - 0.2, size=6.5, va="center")
            color = _COLORS.get(row.verdict, "black")
            at = TEXT_WIDTH - _VERDICT
            canvas.add_text(sheet, at, middle, row.verdict, room=_VERDICT - 0.02, size=6.5, color=color, va="center")
            middles.append(middle)
            top += _ROW
    return middles, top


def _rule_above(sheet: Sheet, top: float) -> None:
    across, down = sheet.get_size_inches()
    y = 1 - top / down
    sheet.add_artist(Line2D([MARGIN / across, 1 - MARGIN / across], [y, y], color=RULE_COLOR, linewidth=0.5))


def _write_key(sheet: Sheet, middle: float) -> None:
    axes = add_axes(sheet, MARGIN, middle - 0.08, 3.6, 0.16)
    axes.set_axis_off()
    axes.set_xlim(0, 3.6)
    axes.set_ylim(-1, 1)
    for number, (verdict, style) in enumerate(MARKS.items()):
        axes.plot([0.2 + 0.95 * number], [0], markersize=3.6, **_MARK, **style)
        axes.text(0.28 + 0.95 * number, 0, verdict, fontsize=6, va="center")
