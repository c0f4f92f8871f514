"""Values of optimised images, of noise and of the strongest face: panels of dots for a paper's text width.

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
from fervis.visualizers.figures.canvas import Sheet
from fervis.visualizers.figures.style import BLUE, FAINT_COLOR, RED, RULE_COLOR, TEXT_WIDTH

DOT_LEFT = 0.5
DOT_TOP = 0.62
DOT_PANEL = 1.15
DOT_ROW = 1.78  # from a panel's top to that of the one below
MOST_NAMED = 32  # so many filters have room for their numbers in a panel of the whole width
DOT_KEYS = {"reached": "reached", "noise": "noise", "strongest face": "strongest"}
"""The names of the compared values, and their fields of ``FilterImages``."""
DOT_STYLES: dict[str, dict[str, Any]] = {
    "reached": {"color": BLUE, "marker": "o", "linestyle": ""},
    "strongest face": {"color": RED, "marker": "s", "linestyle": ""},
    "noise": {"color": FAINT_COLOR, "marker": "D", "markerfacecolor": "white", "linestyle": ""},
}


@dataclass(frozen=True)
class DotPanel:
    """One panel.

    Attributes:
        name: of the layer, the checkpoint or both.
        members: names of N filters or classes.
        values: [N] each, by the names of ``DOT_KEYS``; NaN where there is none.
    """

    name: str
    members: tuple[str, ...]
    values: dict[str, NDArray[np.float64]]

    def sentence(self) -> str:
        """Describe how many images excite their filter more than any face does, and the medians."""
        reached, faces = self.values["reached"], self.values["strongest face"]
        beyond, known = int((reached >= faces).sum()), int(np.isfinite(faces).sum())
        medians = ", ".join(f"{name} {format_number(float(np.nanmedian(self.values[name])))}" for name in DOT_KEYS)
        head = f"{self.name}: " if self.name else ""
        return f"{head}{beyond} of {known} at or beyond the strongest face; medians: {medians}."


def draw_dot_panels(rows: Sequence[Sequence[DotPanel]], *, title: str, unit: str, shared: bool, dpi: int) -> Sheet:
    """Draw rows of panels; in each, one thin line per filter joins the three values.

    Args:
        rows: the panels of each row.
        title: of the sheet.
        unit: what the values are.
        shared: whether the panels of a row have one scale.
        dpi: dots per inch.
    """
    sheet = canvas.new_figure(TEXT_WIDTH, DOT_TOP + len(rows) * DOT_ROW - 0.28, dpi)
    canvas.add_heading(sheet, title)
    across = max(map(len, rows))
    scaled = "panels side by side share a scale" if shared else "each panel its own scale" if across > 1 else ""
    note = "; ".join(part for part in (f"value: {unit}", scaled) if part)
    canvas.add_text(sheet, 0.04, 0.19, note, room=3.4, size=6.5, color=FAINT_COLOR)
    for left, (name, style) in zip((4.02, 4.71, 5.69), DOT_STYLES.items(), strict=True):
        add_legend_key(sheet, left, 0.245, style, name, room=0.8)
    pitch = (TEXT_WIDTH - 0.04) / across
    for line, row in enumerate(rows):
        ends = np.concatenate([np.concatenate(list(panel.values.values())) for panel in row])
        for column, panel in enumerate(row):
            left = column * pitch + DOT_LEFT
            _dot_panel(sheet, panel, left, DOT_TOP + line * DOT_ROW, pitch - DOT_LEFT, ends if shared else None)
    return sheet


def _dot_panel(
    sheet: Sheet, panel: DotPanel, left: float, top: float, width: float, ends: NDArray[np.float64] | None
) -> None:
    axes = add_axes(sheet, left, top, width, DOT_PANEL)
    reached, noise, faces = (panel.values[name] for name in DOT_KEYS)
    count = len(panel.members)
    positions = np.arange(count)
    table = np.stack([reached, noise, faces])
    axes.vlines(positions, np.nanmin(table, 0), np.nanmax(table, 0), color=RULE_COLOR, linewidth=0.7, zorder=1)
    size = min(3.2, max(1.2, 110 * width / max(count, 1) / 6))
    for name, style in DOT_STYLES.items():
        axes.plot(positions, panel.values[name], markersize=size, markeredgewidth=0.6, zorder=3, **style)
    axes.grid(axis="y", color="#E6E6E6", linewidth=0.5, zorder=0)
    axes.set_xlim(-0.7, count - 0.3)
    span = ends if ends is not None else table
    low, high = float(np.nanmin(span)), float(np.nanmax(span))
    margin = 0.06 * (high - low) or 0.5
    axes.set_ylim(low - margin, high + margin)
    axes.locator_params(axis="y", nbins=5)
    every = max(1, -(-count // int(MOST_NAMED * width / (TEXT_WIDTH - DOT_LEFT))))
    long = max(map(len, panel.members)) > 3
    turned = 90 if long and count * 0.5 > width else 0
    axes.set_xticks(positions[::every], list(panel.members[::every]), rotation=turned)
    canvas.add_text(sheet, left, top - 0.16, panel.sentence().partition("; medians")[0], room=width, size=7)
