"""What climbed images reached, beside noise and the strongest face: panels of dots for a paper's text width.

All lengths are in inches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fervis.core.intervals import format_number
from fervis.visualizers.figures import canvas
from fervis.visualizers.figures.axes import add_axes, add_legend_key
from fervis.visualizers.figures.canvas import FAINT_COLOR, Sheet

DOT_WIDTH = 6.5
DOT_LEFT = 0.5
DOT_TOP = 0.62
DOT_PANEL = 1.15
DOT_ROW = 1.78  # from a panel's top to that of the one below
MOST_NAMED = 32  # so many filters have room for their numbers in a panel of the whole width
DOT_KEYS = {"reached": "reached", "noise": "noise", "strongest face": "strongest"}
"""What is compared, in words, and its field of ``FilterImages``."""
DOT_STYLES: dict[str, dict[str, Any]] = {
    "reached": {"color": "#004488", "marker": "o", "linestyle": ""},
    "strongest face": {"color": "#BB5566", "marker": "s", "linestyle": ""},
    "noise": {"color": FAINT_COLOR, "marker": "D", "markerfacecolor": "white", "linestyle": ""},
}


@dataclass(frozen=True)
class DotPanel:
    """One panel.

    Attributes:
        name: of the layer, the checkpoint or both.
        members: names of N filters or classes.
        values: [N] each, by the words of ``KEYS``; NaN where there is none.
    """

    name: str
    members: tuple[str, ...]
    values: dict[str, NDArray[np.float64]]

    def sentence(self) -> str:
        """How many images excite their filter more than any face does, and by how much more than noise."""
        reached, faces = self.values["reached"], self.values["strongest face"]
        beyond, known = int((reached >= faces).sum()), int(np.isfinite(faces).sum())
        medians = ", ".join(f"{name} {format_number(float(np.nanmedian(self.values[name])))}" for name in DOT_KEYS)
        head = f"{self.name}: " if self.name else ""
        return f"{head}{beyond} of {known} at or beyond the strongest face; medians: {medians}."


def draw_dot_panels(rows: Sequence[Sequence[DotPanel]], *, title: str, unit: str, shared: bool, dpi: int) -> Sheet:
    """Rows of panels; in each a thin line a filter joins the three values.

    Args:
        rows: the panels of each row.
        title: of the sheet.
        unit: what the values are.
        shared: whether the panels of a row have one scale.
        dpi: dots an inch.
    """
    sheet = canvas.new_figure(DOT_WIDTH, DOT_TOP + len(rows) * DOT_ROW - 0.28, dpi)
    canvas.add_text(sheet, 0.04, 0.03, title, room=DOT_WIDTH - 0.08, size=8.5, fontweight="bold")
    across = max(map(len, rows))
    scaled = "panels side by side share a scale" if shared else "each panel its own scale" if across > 1 else ""
    note = "; ".join(part for part in (f"value: {unit}", scaled) if part)
    canvas.add_text(sheet, 0.04, 0.19, note, room=3.4, size=6.5, color=FAINT_COLOR)
    for left, (name, looks) in zip((4.02, 4.71, 5.69), DOT_STYLES.items(), strict=True):
        add_legend_key(sheet, left, 0.245, looks, name, room=0.8)
    pitch = (DOT_WIDTH - 0.04) / across
    for line, row in enumerate(rows):
        ends = np.concatenate([np.concatenate(list(panel.values.values())) for panel in row])
        for place, panel in enumerate(row):
            left = place * pitch + DOT_LEFT
            _dot_panel(sheet, panel, left, DOT_TOP + line * DOT_ROW, pitch - DOT_LEFT, ends if shared else None)
    return sheet


def _dot_panel(
    sheet: Sheet, panel: DotPanel, left: float, top: float, width: float, ends: NDArray[np.float64] | None
) -> None:
    axes = add_axes(sheet, left, top, width, DOT_PANEL)
    reached, noise, faces = (panel.values[name] for name in DOT_KEYS)
    count = len(panel.members)
    places = np.arange(count)
    table = np.stack([reached, noise, faces])
    axes.vlines(places, np.nanmin(table, 0), np.nanmax(table, 0), color="#CCCCCC", linewidth=0.7, zorder=1)
    size = min(3.2, max(1.2, 110 * width / max(count, 1) / 6))
    for name, looks in DOT_STYLES.items():
        axes.plot(places, panel.values[name], markersize=size, markeredgewidth=0.6, zorder=3, **looks)
    axes.grid(axis="y", color="#E6E6E6", linewidth=0.5, zorder=0)
    axes.set_xlim(-0.7, count - 0.3)
    span = ends if ends is not None else table
    low, high = float(np.nanmin(span)), float(np.nanmax(span))
    margin = 0.06 * (high - low) or 0.5
    axes.set_ylim(low - margin, high + margin)
    axes.locator_params(axis="y", nbins=5)
    every = max(1, -(-count // int(MOST_NAMED * width / (DOT_WIDTH - DOT_LEFT))))
    long = max(map(len, panel.members)) > 3
    turned = 90 if long and count * 0.5 > width else 0
    axes.set_xticks(places[::every], list(panel.members[::every]), rotation=turned)
    canvas.add_text(sheet, left, top - 0.16, panel.sentence().partition("; medians")[0], room=width, size=7)
