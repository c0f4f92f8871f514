"""What every figure is drawn with: colour scales, honest pixels, numbers in words, and a sheet measured in inches.

The object-oriented interface of matplotlib only: no pyplot, no figure that outlives its file, no global state. The
same arguments give the same bytes on one machine, whatever the user's own matplotlib settings are.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import matplotlib.style
import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Sheet
from matplotlib.image import BboxImage
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from matplotlib.transforms import Bbox, TransformedBbox
from numpy.typing import NDArray

from fervis.system.files import atomic_path

FAINT_COLOR = "#555555"
SMALLEST_TYPE = 5.0


def file_name(*parts: object, used: set[str]) -> str:
    """``299_angry_conv7`` from its parts: safe on every file system, and not among the ``used`` (it joins them)."""
    stem = "_".join(re.sub(r"[^\w.=+]+", "-", str(part)).strip("-.") or "-" for part in parts)[:120]
    name, count = stem, 1
    while name.lower() in used:
        count += 1
        name = f"{stem}_{count}"
    used.add(name.lower())
    return name


def new_figure(width: float, height: float, dpi: int) -> Sheet:
    """An empty white sheet of this size in inches."""
    figure = Sheet(figsize=(width, height), dpi=dpi, facecolor="white", layout=None)
    FigureCanvasAgg(figure)
    return figure


def add_image(figure: Sheet, left: float, top: float, side: float, pixels: NDArray[np.uint8]) -> None:
    """An [H,W,3] picture fitted into a square, its pixels left as they are."""
    tall, wide = pixels.shape[:2]
    width, height = side * min(1, wide / tall), side * min(1, tall / wide)
    _frame(figure, left + (side - width) / 2, top + (side - height) / 2, width, height, pixels)


def _frame(figure: Sheet, left: float, top: float, width: float, height: float, pixels: NDArray[np.uint8]) -> None:
    # Without axes: their ticks and spines would take most of the time and are not shown.
    across, down = figure.get_size_inches()
    place = Bbox.from_bounds(left / across, 1 - (top + height) / down, width / across, height / down)
    image = BboxImage(TransformedBbox(place, figure.transFigure), interpolation="nearest", origin="upper")
    image.set_data(pixels)
    figure.add_artist(image)
    frame = Rectangle(place.p0, place.width, place.height, fill=False, linewidth=0.4, edgecolor=FAINT_COLOR)
    figure.add_artist(frame)


def add_text(
    figure: Sheet, left: float, top: float, text: str, *, room: float, size: float = 7.0, **looks: Any
) -> Text:
    """A line of text hung from a point in inches; smaller, then shortened, where ``room`` (inches) is too narrow."""
    across, down = figure.get_size_inches()
    looks = {"va": "top", "parse_math": False} | looks
    line = figure.text(left / across, 1 - top / down, text, fontsize=size, **looks)
    while _text_width(line) > room and (small := float(line.get_fontsize())) > SMALLEST_TYPE:
        line.set_fontsize(max(SMALLEST_TYPE, small * min(0.98, room / _text_width(line))))
    shown = text
    while _text_width(line) > room and len(shown) > 4:
        shown = shown[: min(len(shown) - 1, int(len(shown) * room / _text_width(line)))].rstrip()
        line.set_text(shown + "…")
    return line


def wrap_text(text: str, *, room: float, size: float, most: int = 2) -> list[str]:
    """The text broken between words into at most ``most`` lines for this room in inches; the last may be too long."""
    probe = new_figure(1, 1, 100).text(0, 0, "", fontsize=size, parse_math=False)
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".lstrip()
        probe.set_text(longer)
        if lines[-1] and len(lines) < most and _text_width(probe) > room:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _text_width(line: Text) -> float:
    figure = line.get_figure(root=True)
    assert figure is not None
    return line.get_window_extent().width / figure.dpi


def colour_bar(
    figure: Sheet, left: float, top: float, width: float, colormap: str, labels: tuple[str, str, str]
) -> None:
    """A horizontal bar of the colours, labelled at its left end, its middle (if there is room) and its right end."""
    _frame(figure, left, top, width, 0.07, colormaps[colormap](np.linspace(0, 1, 256)[None], bytes=True)[..., :3])
    across, down = figure.get_size_inches()
    y = 1 - (top + 0.07) / down
    shown: list[Text] = []
    for share, side, label in zip((0.0, 0.5, 1.0), ("left", "center", "right"), labels, strict=True):
        x = (left + share * width) / across
        shown.append(figure.text(x, y - 0.045 / down, label, fontsize=6, ha=side, va="top"))
        if label:
            figure.add_artist(Line2D([x, x], [y, y - 0.028 / down], color=FAINT_COLOR, linewidth=0.4))
    first, middle, last = (_text_width(text) for text in shown)
    if middle / 2 + max(first, last) > width / 2 - 0.05:
        shown[1].remove()


def save_figure(figure: Sheet, path: Path, dpi: int) -> None:
    """Write a PNG, whole or not at all; the same figure gives the same bytes."""
    with atomic_path(path) as partial:
        figure.savefig(partial, dpi=dpi, format="png", metadata={"Software": None}, pil_kwargs={"compress_level": 4})


def plain_style() -> Any:
    """A context in which the user's own matplotlib settings do not count."""
    return matplotlib.style.context(
        ["default", {"font.family": "DejaVu Sans", "text.usetex": False, "text.parse_math": False}]
    )
