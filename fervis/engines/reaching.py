"""What climbed images reached, beside noise and the strongest face: panels of dots for a paper's text width.

All lengths are in inches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fervis.engines import drawing
from fervis.engines.drawing import FAINT, Sheet, number
from fervis.engines.panels import axes_at, key

WIDTH = 6.5
LEFT = 0.5
TOP = 0.62
PANEL = 1.15
ROW = 1.78  # from a panel's top to that of the one below
NAMED = 32  # so many filters have room for their numbers in a panel of the whole width
KEYS = {"reached": "reached", "noise": "noise", "strongest face": "strongest"}
"""What is compared, in words, and its field of ``FilterImages``."""
LOOKS: dict[str, dict[str, Any]] = {
    "reached": {"color": "#004488", "marker": "o", "linestyle": ""},
    "strongest face": {"color": "#BB5566", "marker": "s", "linestyle": ""},
    "noise": {"color": FAINT, "marker": "D", "markerfacecolor": "white", "linestyle": ""},
}


@dataclass(frozen=True)
class Reached:
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
        medians = ", ".join(f"{name} {number(float(np.nanmedian(self.values[name])))}" for name in KEYS)
        head = f"{self.name}: " if self.name else ""
        return f"{head}{beyond} of {known} at or beyond the strongest face; medians: {medians}."


def draw_reached(rows: Sequence[Sequence[Reached]], *, title: str, unit: str, shared: bool, dpi: int) -> Sheet:
    """Rows of panels; in each a thin line a filter joins the three values.

    Args:
        rows: the panels of each row.
        title: of the sheet.
        unit: what the values are.
        shared: whether the panels of a row have one scale.
        dpi: dots an inch.
    """
    sheet = drawing.sheet(WIDTH, TOP + len(rows) * ROW - 0.28, dpi)
    drawing.write(sheet, 0.04, 0.03, title, room=WIDTH - 0.08, size=8.5, fontweight="bold")
    across = max(map(len, rows))
    scaled = "panels side by side share a scale" if shared else "each panel its own scale" if across > 1 else ""
    note = "; ".join(part for part in (f"value: {unit}", scaled) if part)
    drawing.write(sheet, 0.04, 0.19, note, room=3.4, size=6.5, color=FAINT)
    for left, (name, looks) in zip((4.02, 4.71, 5.69), LOOKS.items(), strict=True):
        key(sheet, left, 0.245, looks, name, room=0.8)
    pitch = (WIDTH - 0.04) / across
    for line, row in enumerate(rows):
        ends = np.concatenate([np.concatenate(list(panel.values.values())) for panel in row])
        for place, panel in enumerate(row):
            left = place * pitch + LEFT
            _panel(sheet, panel, left, TOP + line * ROW, pitch - LEFT, ends if shared else None)
    return sheet


def _panel(
    sheet: Sheet, panel: Reached, left: float, top: float, width: float, ends: NDArray[np.float64] | None
) -> None:
    axes = axes_at(sheet, left, top, width, PANEL)
    reached, noise, faces = (panel.values[name] for name in KEYS)
    count = len(panel.members)
    places = np.arange(count)
    table = np.stack([reached, noise, faces])
    axes.vlines(places, np.nanmin(table, 0), np.nanmax(table, 0), color="#CCCCCC", linewidth=0.7, zorder=1)
    size = min(3.2, max(1.2, 110 * width / max(count, 1) / 6))
    for name, looks in LOOKS.items():
        axes.plot(places, panel.values[name], markersize=size, markeredgewidth=0.6, zorder=3, **looks)
    axes.grid(axis="y", color="#E6E6E6", linewidth=0.5, zorder=0)
    axes.set_xlim(-0.7, count - 0.3)
    span = ends if ends is not None else table
    low, high = float(np.nanmin(span)), float(np.nanmax(span))
    margin = 0.06 * (high - low) or 0.5
    axes.set_ylim(low - margin, high + margin)
    axes.locator_params(axis="y", nbins=5)
    every = max(1, -(-count // int(NAMED * width / (WIDTH - LEFT))))
    long = max(map(len, panel.members)) > 3
    turned = 90 if long and count * 0.5 > width else 0
    axes.set_xticks(places[::every], list(panel.members[::every]), rotation=turned)
    drawing.write(sheet, left, top - 0.16, panel.sentence().partition("; medians")[0], room=width, size=7)
