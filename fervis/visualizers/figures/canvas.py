"""Sheets measured in inches from their upper left corner: pictures, text, colour bars, and files.

The object-oriented interface of matplotlib only: no pyplot, no figure that outlives its file, no global state. The
same arguments give the same bytes on one machine, for any matplotlib settings of the user.
"""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas
from matplotlib.image import BboxImage
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from matplotlib.transforms import Bbox, TransformedBbox
from numpy.typing import NDArray

from fervis.system.files import atomic_path
from fervis.visualizers.figures.style import FAINT_COLOR, HEADING_SIZE, MARGIN, SMALLEST_TYPE

_UNBROKEN = re.compile(r"\S+(?: %\S*)?(?: \[[^\]]*\]\S*)?")


class Sheet(Canvas):
    """A figure that a notebook shows although it has no axes."""

    def _repr_html_(self) -> str:
        data = io.BytesIO()
        self.savefig(data, format="png", metadata={"Software": None})
        picture = base64.b64encode(data.getvalue()).decode()
        return f'<img alt="figure" style="max-width:100%" src="data:image/png;base64,{picture}">'


def file_name(*parts: object, used: set[str]) -> str:
    """Return ``299_angry_conv7`` from its parts: safe on every file system, not yet in ``used``, and added to it."""
    stem = "_".join(re.sub(r"[^\w.=+]+", "-", str(part)).strip("-.") or "-" for part in parts)[:120]
    name, count = stem, 1
    while name.lower() in used:
        count += 1
        name = f"{stem}_{count}"
    used.add(name.lower())
    return name


def new_figure(width: float, height: float, dpi: int) -> Sheet:
    """Return an empty white sheet of this size in inches."""
    figure = Sheet(figsize=(width, height), dpi=dpi, facecolor="white", layout=None)
    FigureCanvasAgg(figure)
    return figure


def add_image(figure: Sheet, left: float, top: float, side: float, pixels: NDArray[np.uint8]) -> None:
    """Draw an [H,W,3] picture into a square of ``side`` inches, its pixels left as they are."""
    tall, wide = pixels.shape[:2]
    width, height = side * min(1, wide / tall), side * min(1, tall / wide)
    _frame(figure, left + (side - width) / 2, top + (side - height) / 2, width, height, pixels)


def _frame(figure: Sheet, left: float, top: float, width: float, height: float, pixels: NDArray[np.uint8]) -> None:
    # Without axes: their ticks and spines would take most of the time and are not shown.
    across, down = figure.get_size_inches()
    box = Bbox.from_bounds(left / across, 1 - (top + height) / down, width / across, height / down)
    image = BboxImage(TransformedBbox(box, figure.transFigure), interpolation="nearest", origin="upper")
    image.set_data(pixels)
    figure.add_artist(image)
    frame = Rectangle(box.p0, box.width, box.height, fill=False, linewidth=0.4, edgecolor=FAINT_COLOR)
    figure.add_artist(frame)


def add_text(
    figure: Sheet, left: float, top: float, text: str, *, room: float, size: float = 7.0, **style: Any
) -> Text:
    """Write a line of text below a point in inches; smaller, then shortened, where ``room`` (inches) is too narrow."""
    across, down = figure.get_size_inches()
    style = {"va": "top", "parse_math": False} | style
    line = figure.text(left / across, 1 - top / down, text, fontsize=size, **style)
    while _text_width(line) > room and (small := float(line.get_fontsize())) > SMALLEST_TYPE:
        line.set_fontsize(max(SMALLEST_TYPE, small * min(0.98, room / _text_width(line))))
    short = text
    while _text_width(line) > room and len(short) > 4:
        short = short[: min(len(short) - 1, int(len(short) * room / _text_width(line)))].rstrip()
        line.set_text(short + "…")
    return line


def add_heading(sheet: Sheet, title: str, *, margin: float = MARGIN) -> Text:
    """Write a sheet's title in bold along its upper edge."""
    room = float(sheet.get_size_inches()[0]) - 2 * margin
    return add_text(sheet, margin, 0.03, title, room=room, size=HEADING_SIZE, fontweight="bold")


def wrap_text(text: str, *, room: float, size: float, most: int = 2) -> list[str]:
    """Break a text between words into at most ``most`` lines for this room in inches; the last may be too long.

    A number, its per cent sign and its interval stay on one line: ``68.7 % [67.2, 70.2]``.
    """
    probe = new_figure(1, 1, 100).text(0, 0, "", fontsize=size, parse_math=False)
    lines = [""]
    for word in _UNBROKEN.findall(text):
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
    """Draw a horizontal bar of the colours, labelled at both ends and, if there is room, in the middle."""
    _frame(figure, left, top, width, 0.07, colormaps[colormap](np.linspace(0, 1, 256)[None], bytes=True)[..., :3])
    across, down = figure.get_size_inches()
    y = 1 - (top + 0.07) / down
    written: list[Text] = []
    for share, side, label in zip((0.0, 0.5, 1.0), ("left", "center", "right"), labels, strict=True):
        x = (left + share * width) / across
        written.append(figure.text(x, y - 0.045 / down, label, fontsize=6, ha=side, va="top"))
        if label:
            figure.add_artist(Line2D([x, x], [y, y - 0.028 / down], color=FAINT_COLOR, linewidth=0.4))
    first, middle, last = (_text_width(text) for text in written)
    if middle / 2 + max(first, last) > width / 2 - 0.05:
        written[1].remove()


def save_figure(figure: Sheet, path: Path, dpi: int) -> None:
    """Write a PNG, whole or not at all; the same figure gives the same bytes."""
    with atomic_path(path) as partial:
        figure.savefig(partial, dpi=dpi, format="png", metadata={"Software": None}, pil_kwargs={"compress_level": 4})
