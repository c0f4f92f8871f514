"""The style of every figure: matplotlib's settings, colours, line widths and the text width of a paper."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import matplotlib.style

TEXT_WIDTH = 6.5  # inches, the text width of a paper
MARGIN = 0.04  # inches, around what a figure shows

# Tol's high-contrast colours: steps of lightness, so that they differ in grey and to every eye.
BLUE, RED, YELLOW = "#004488", "#BB5566", "#DDAA33"
DARK_YELLOW = "#997700"  # for small marks on white
FAINT_COLOR = "#555555"  # of axes and of secondary text
GREY = "#777777"
GRID_COLOR = "#DDDDDD"
RULE_COLOR = "#CCCCCC"

HEADING_SIZE = 8.5  # points
SMALLEST_TYPE = 5.0  # points
DASHED_LINE: Any = (0, (3.2, 1.6))
MARKED_LINE: dict[str, Any] = {"linewidth": 0.9, "markersize": 2.8, "markeredgewidth": 0.8}

_SETTINGS: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "text.usetex": False,
    "text.parse_math": False,
    "axes.axisbelow": True,
    "axes.edgecolor": FAINT_COLOR,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "grid.color": GRID_COLOR,
    "grid.linewidth": 0.5,
}
for _axis in ("xtick", "ytick"):
    _SETTINGS |= {f"{_axis}.{name}": value for name, value in {"color": FAINT_COLOR, "labelcolor": "black"}.items()}
    _SETTINGS |= {f"{_axis}.labelsize": 6.5, f"{_axis}.major.width": 0.6}
    _SETTINGS |= {f"{_axis}.major.size": 2.5, f"{_axis}.major.pad": 2}


def plain_style() -> AbstractContextManager[Any]:
    """Return a context in which figures have this style, for any matplotlib settings of the user."""
    return matplotlib.style.context(["default", _SETTINGS])
