"""Numbers that change with depth: small panels of one quantity each over the layers, for a paper's text width.

All lengths are in inches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fervis.core.intervals import Interval
from fervis.visualizers.figures import canvas
from fervis.visualizers.figures.canvas import FAINT_COLOR, Sheet

TRENDS_WIDTH = 6.5
TRENDS_COLUMNS = 3
TRENDS_PANEL = (1.66, 1.25)
TRENDS_TOP = 0.42
TRENDS_HEAD = 0.2  # over a panel, for its name
# Tol's high-contrast and muted colours, by falling darkness; markers tell them apart in grey.
TREND_STYLES = (
    ("#004488", "o", "blue dots"),
    ("#BB5566", "s", "red squares"),
    ("#DDAA33", "^", "yellow triangles"),
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


def draw_trends(trends: Sequence[LayerSeries], layers: Sequence[str], *, title: str, note: str, dpi: int) -> Sheet:
    """Panels of three a row; bars are the ends of the intervals, where there are some."""
    rows = -(-len(trends) // TRENDS_COLUMNS)
    across = min(TRENDS_COLUMNS, len(trends))
    upright = sum(map(len, layers)) + 2 * len(layers) > 34  # as many characters as stand side by side under a panel
    foot = 0.2 + 0.05 * max(map(len, layers)) if upright else 0.28
    step = TRENDS_HEAD + TRENDS_PANEL[1] + foot
    sheet = canvas.new_figure(TRENDS_WIDTH, TRENDS_TOP + rows * step + 0.02, dpi)
    canvas.add_text(sheet, 0.04, 0.03, title, room=TRENDS_WIDTH - 0.08, size=8.5, fontweight="bold")
    canvas.add_text(sheet, 0.04, 0.19, note, room=TRENDS_WIDTH - 0.08, size=6.5, color=FAINT_COLOR)
    pitch = (TRENDS_WIDTH - 0.04) / TRENDS_COLUMNS
    for place, trend in enumerate(trends):
        left = 0.04 + place % across * pitch + (pitch - TRENDS_PANEL[0]) - 0.08
        _trend_panel(sheet, trend, layers, left, TRENDS_TOP + place // across * step, upright=upright)
    return sheet


def _trend_panel(
    sheet: Sheet, trend: LayerSeries, layers: Sequence[str], left: float, top: float, *, upright: bool
) -> None:
    height = sheet.get_size_inches()[1]
    below = height - top - TRENDS_HEAD - TRENDS_PANEL[1]
    axes = sheet.add_axes(
        (left / TRENDS_WIDTH, below / height, TRENDS_PANEL[0] / TRENDS_WIDTH, TRENDS_PANEL[1] / height)
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set(linewidth=0.6, color=FAINT_COLOR)
    axes.tick_params(labelsize=6, width=0.6, length=2.5, pad=2, color=FAINT_COLOR)
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.5, zorder=0)
    axes.set_axisbelow(True)
    shift = 0.12 if len(trend.series) > 1 else 0.0
    for number, (name, values) in enumerate(trend.series.items()):
        colour, marker, _ = TREND_STYLES[number % len(TREND_STYLES)]
        places = np.arange(len(layers)) + shift * (number - (len(trend.series) - 1) / 2)
        means = np.array([one.value for one in values])
        ends = np.abs(np.array([[one.low, one.high] for one in values]).T - means)
        look = {"color": colour, "marker": marker, "markersize": 2.6, "linewidth": 1.0, "zorder": 3, "label": name}
        axes.errorbar(places, means, yerr=np.nan_to_num(ends), elinewidth=0.7, **look)
        if trend.dashed:
            others = [one.value for one in trend.dashed[name]]
            axes.plot(places, others, color=colour, linestyle=(0, (3, 1.5)), linewidth=0.8, zorder=2)
    axes.set_xticks(range(len(layers)), list(layers), rotation=90 if upright else 0)
    axes.set_xlim(-0.5, len(layers) - 0.5)
    low, high = axes.get_ylim()
    least = min(
        (one.value for values in trend.series.values() for one in values if one.value == one.value), default=0.0
    )
    axes.set_ylim(0.0 if least >= 0 and low < 0.4 * high else low, high + 0.02 * (high - low))
    axes.locator_params(axis="y", nbins=5)
    name = trend.name + (f" (dashed: {trend.dashed_name})" if trend.dashed else "")
    canvas.add_text(sheet, left - 0.3, top + 0.03, name, room=TRENDS_PANEL[0] + 0.32, size=7)


def series_note(names: Sequence[str]) -> str:
    """Which line is which, in words, for a figure's second line; empty for one line."""
    if len(names) < 2:
        return ""
    return ", ".join(f"{TREND_STYLES[place % len(TREND_STYLES)][2]}: {name}" for place, name in enumerate(names))
