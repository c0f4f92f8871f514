"""Numbers that change with depth: small panels of one quantity each over the layers, for a paper's text width.

All lengths are in inches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fervis.core.intervals import Interval, format_interval
from fervis.core.results import Explanation
from fervis.visualizers.figures import canvas
from fervis.visualizers.figures.axes import add_axes
from fervis.visualizers.figures.canvas import Sheet
from fervis.visualizers.figures.style import BLUE, FAINT_COLOR, MARGIN, RED, TEXT_WIDTH, YELLOW

TRENDS_COLUMNS = 3
TRENDS_PANEL = (1.66, 1.25)
TRENDS_TOP = 0.42
TRENDS_HEAD = 0.2  # over a panel, for its name
# Tol's high-contrast and muted colours, by falling darkness; markers differ in grey.
TREND_STYLES = (
    (BLUE, "o", "blue dots"),
    (RED, "s", "red squares"),
    (YELLOW, "^", "yellow triangles"),
    ("#117733", "D", "green diamonds"),
    ("#882255", "v", "purple triangles"),
    ("#88CCEE", "P", "light blue crosses"),
)


@dataclass(frozen=True)
class LayerSeries:
    """One quantity over the layers.

    Attributes:
        name: what it is, with its unit.
        series: name of a line -> the quantity at each layer.
        dashed: as ``series``, of what it is to be compared with.
        dashed_name: what the dashed lines are.
    """

    name: str
    series: Mapping[str, Sequence[Interval]]
    dashed: Mapping[str, Sequence[Interval]] | None = None
    dashed_name: str = ""

    def sentences(self, layers: Sequence[str]) -> list[str]:
        """Describe each line at these layers, which are some of its own by position."""
        return [
            f"{self.name}{f' at checkpoint {line}' * (len(self.series) > 1)}: "
            + ", ".join(
                f"{layer} {format_interval(value, missing='none')}" for layer, value in zip(layers, values, strict=True)
            )
            for line, values in self.series.items()
        ]


def layer_series(
    explanation: Explanation, names: Mapping[str, str], dashed: Mapping[str, tuple[str, str]] | None = None
) -> list[LayerSeries]:
    """Return the means of an explanation as lines over its layers, one line per checkpoint.

    Args:
        explanation: with ``means``.
        names: name of a number -> what it is, with its unit; numbers without a mean are left out.
        dashed: name of a number -> the number to compare it with, and what that is.
    """
    layers = list(dict.fromkeys(explanation.layers))
    checkpoints = list(dict.fromkeys(explanation.checkpoints)) or [""]

    def lines(name: str) -> dict[str, list[Interval]] | None:
        keys = {one: [explanation.mean_key(layer, one, name) for layer in layers] for one in checkpoints}
        if not all(key in explanation.means for row in keys.values() for key in row):
            return None
        return {one: [explanation.means[key] for key in row] for one, row in keys.items()}

    series = []
    for name, text in names.items():
        other, other_text = (dashed or {}).get(name, ("", ""))
        if own := lines(name):
            compared = lines(other) if other else None
            series.append(LayerSeries(text, own, compared, other_text if compared else ""))
    return series


def draw_trends(trends: Sequence[LayerSeries], layers: Sequence[str], *, title: str, note: str, dpi: int) -> Sheet:
    """Draw panels, three in a row; bars are the intervals, where there are some."""
    rows = -(-len(trends) // TRENDS_COLUMNS)
    across = min(TRENDS_COLUMNS, len(trends))
    upright = sum(map(len, layers)) + 2 * len(layers) > 34  # as many characters as fit in a row under a panel
    foot = 0.2 + 0.05 * max(map(len, layers)) if upright else 0.28
    step = TRENDS_HEAD + TRENDS_PANEL[1] + foot
    sheet = canvas.new_figure(TEXT_WIDTH, TRENDS_TOP + rows * step + 0.02, dpi)
    canvas.add_heading(sheet, title)
    canvas.add_text(sheet, MARGIN, 0.19, note, room=TEXT_WIDTH - 2 * MARGIN, size=6.5, color=FAINT_COLOR)
    pitch = (TEXT_WIDTH - MARGIN) / TRENDS_COLUMNS
    for index, trend in enumerate(trends):
        left = MARGIN + index % across * pitch + (pitch - TRENDS_PANEL[0]) - 0.08
        _trend_panel(sheet, trend, layers, left, TRENDS_TOP + index // across * step, upright=upright)
    return sheet


def _trend_panel(
    sheet: Sheet, trend: LayerSeries, layers: Sequence[str], left: float, top: float, *, upright: bool
) -> None:
    axes = add_axes(sheet, left, top + TRENDS_HEAD, *TRENDS_PANEL, grid="y")
    axes.tick_params(labelsize=6)
    shift = 0.12 if len(trend.series) > 1 else 0.0
    for number, (name, values) in enumerate(trend.series.items()):
        colour, marker, _ = TREND_STYLES[number % len(TREND_STYLES)]
        positions = np.arange(len(layers)) + shift * (number - (len(trend.series) - 1) / 2)
        means = np.array([value.value for value in values])
        ends = np.abs(np.array([[value.low, value.high] for value in values]).T - means)
        style = {"color": colour, "marker": marker, "markersize": 2.6, "linewidth": 1.0, "zorder": 3, "label": name}
        axes.errorbar(positions, means, yerr=np.nan_to_num(ends), elinewidth=0.7, **style)
        if trend.dashed:
            others = [value.value for value in trend.dashed[name]]
            axes.plot(positions, others, color=colour, linestyle=(0, (3, 1.5)), linewidth=0.8, zorder=2)
    axes.set_xticks(range(len(layers)), list(layers), rotation=90 if upright else 0)
    axes.set_xlim(-0.5, len(layers) - 0.5)
    low, high = axes.get_ylim()
    known = [value.value for values in trend.series.values() for value in values if value.value == value.value]
    axes.set_ylim(0.0 if min(known, default=0.0) >= 0 and low < 0.4 * high else low, high + 0.02 * (high - low))
    axes.locator_params(axis="y", nbins=5)
    name = trend.name + (f" (dashed: {trend.dashed_name})" if trend.dashed else "")
    canvas.add_text(sheet, left - 0.3, top + 0.03, name, room=TRENDS_PANEL[0] + 0.32, size=7)


def series_note(names: Sequence[str]) -> str:
    """Describe which line is which for a figure's second line; empty for one line."""
    if len(names) < 2:
        return ""
    return ", ".join(f"{TREND_STYLES[index % len(TREND_STYLES)][2]}: {name}" for index, name in enumerate(names))
