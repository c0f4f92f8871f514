"""What every figure is drawn with: colour scales, honest pixels, numbers in words, and a sheet measured in inches.

The object-oriented interface of matplotlib only: no pyplot, no figure that outlives its file, no global state. The
same arguments give the same bytes on one machine, whatever the user's own matplotlib settings are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
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
from torch import Tensor

from fervis.atomic import whole_file
from fervis.errors import unknown

FAINT = "#555555"
SMALLEST_TYPE = 5.0


@dataclass(frozen=True)
class Scale:
    """Which value gets which colour: ``low`` the first, ``high`` the last, in between linearly.

    Attributes:
        low: value of the first colour; ``-high`` where ``signed``.
        high: value of the last colour; values beyond share it.
        signed: whether 0 is the middle.
        least: the smallest value there is.
        most: the largest value there is.
    """

    low: float
    high: float
    signed: bool
    least: float
    most: float

    def position(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Place of each value on the scale, in [0, 1]; all 0 (signed: 0.5) where every value is 0."""
        if self.high == self.low:
            return np.full(values.shape, 0.5 if self.signed else 0.0)
        return np.clip((values.astype(np.float64) - self.low) / (self.high - self.low), 0, 1)

    def strength(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """How far each value is from no colour at all (0, or ``low`` of magnitudes), in [0, 1]."""
        place = self.position(values)
        return np.abs(2 * place - 1) if self.signed else place


def scale_of(values: NDArray[Any], *, signed: bool, percentile: float = 100.0) -> Scale:
    """The scale on which these values are drawn.

    Signed values get limits that are symmetric about 0. Magnitudes start at 0, unless the smallest is more than a
    quarter of the largest (a map that rides on an offset, such as RISE's), or below 0: then at the smallest.

    Args:
        values: any shape, finite.
        signed: whether 0 is the middle.
        percentile: the last colour stands for this percentile of the (absolute) values, 100 for the largest.
    """
    least, most = float(values.min()), float(values.max())
    sizes = np.abs(values) if signed else values
    # Where nearly every value is 0 the percentile is 0 too, and would hide the few that are not.
    high = float(np.percentile(sizes, percentile)) or float(sizes.max())
    if signed:
        return Scale(-high, high, True, least, most)
    low = 0.0 if 0 <= least <= 0.25 * high or least == most > 0 else least
    return Scale(low, high, False, least, most)


def known_colormap(key: str, name: str) -> None:
    """Raise WrongQuestion for a colour map that matplotlib does not have."""
    if name not in colormaps:
        raise unknown(key, name, sorted(known for known in colormaps if not known.endswith("_r")), limit=8)


def rgb(image: Tensor) -> NDArray[np.uint8]:
    """A [C,H,W] uint8 picture, grey (C is 1) or RGB (C is 3), as [H,W,3] uint8."""
    pixels = image.permute(1, 2, 0).cpu().numpy()
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))


def painted(values: NDArray[Any], scale: Scale, colormap: str) -> NDArray[np.uint8]:
    """[H,W] values in their colours, [H,W,3] uint8."""
    return colormaps[colormap](scale.position(values), bytes=True)[..., :3]


def overlaid(
    face: NDArray[np.uint8], values: NDArray[Any], scale: Scale, colormap: str, *, opacity: float
) -> NDArray[np.uint8]:
    """The map over the darkened face, [H,W,3] uint8: the stronger the map, the more of it and the less of the face.

    The map's share is ``opacity`` times the root of its strength, which keeps middling values in sight. The face
    keeps 70 % of its brightness, so that the bright end of the scale is brighter than any skin and the overlay can
    be read in grey too.
    """
    share = opacity * np.sqrt(scale.strength(values))[..., None]
    return np.rint(0.7 * face * (1 - share) + painted(values, scale, colormap) * share).astype(np.uint8)


def number(value: float) -> str:
    """Three significant digits for people: ``0.0313``, ``3.1·10⁻⁵``, ``-12``."""
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        text = f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    else:
        mantissa, exponent = f"{value:.2e}".split("e")
        digits = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
        text = f"{mantissa.rstrip('0').rstrip('.')}·10{digits}"
    return text.replace("-", "\N{MINUS SIGN}")


def file_name(*parts: object, used: set[str]) -> str:
    """``299_angry_conv7`` from its parts: safe on every file system, and not among the ``used`` (it joins them)."""
    stem = "_".join(re.sub(r"[^\w.=+]+", "-", str(part)).strip("-.") or "-" for part in parts)[:120]
    name, count = stem, 1
    while name.lower() in used:
        count += 1
        name = f"{stem}_{count}"
    used.add(name.lower())
    return name


def sheet(width: float, height: float, dpi: int) -> Sheet:
    """An empty white sheet of this size in inches."""
    figure = Sheet(figsize=(width, height), dpi=dpi, facecolor="white", layout=None)
    FigureCanvasAgg(figure)
    return figure


def picture(figure: Sheet, left: float, top: float, side: float, pixels: NDArray[np.uint8]) -> None:
    """An [H,W,3] picture fitted into a square, its pixels left as they are."""
    tall, wide = pixels.shape[:2]
    width, height = side * min(1, wide / tall), side * min(1, tall / wide)
    _framed(figure, left + (side - width) / 2, top + (side - height) / 2, width, height, pixels)


def _framed(figure: Sheet, left: float, top: float, width: float, height: float, pixels: NDArray[np.uint8]) -> None:
    # Without axes: their ticks and spines would take most of the time and are not shown.
    across, down = figure.get_size_inches()
    place = Bbox.from_bounds(left / across, 1 - (top + height) / down, width / across, height / down)
    image = BboxImage(TransformedBbox(place, figure.transFigure), interpolation="nearest", origin="upper")
    image.set_data(pixels)
    figure.add_artist(image)
    frame = Rectangle(place.p0, place.width, place.height, fill=False, linewidth=0.4, edgecolor=FAINT)
    figure.add_artist(frame)


def write(figure: Sheet, left: float, top: float, text: str, *, room: float, size: float = 7.0, **looks: Any) -> Text:
    """A line of text hung from a point in inches; smaller, then shortened, where ``room`` (inches) is too narrow."""
    across, down = figure.get_size_inches()
    looks = {"va": "top", "parse_math": False} | looks
    line = figure.text(left / across, 1 - top / down, text, fontsize=size, **looks)
    while _width(line) > room and (small := float(line.get_fontsize())) > SMALLEST_TYPE:
        line.set_fontsize(max(SMALLEST_TYPE, small * min(0.98, room / _width(line))))
    shown = text
    while _width(line) > room and len(shown) > 4:
        shown = shown[: min(len(shown) - 1, int(len(shown) * room / _width(line)))].rstrip()
        line.set_text(shown + "…")
    return line


def lines_of(text: str, *, room: float, size: float, most: int = 2) -> list[str]:
    """The text broken between words into at most ``most`` lines for this room in inches; the last may be too long."""
    probe = sheet(1, 1, 100).text(0, 0, "", fontsize=size, parse_math=False)
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".lstrip()
        probe.set_text(longer)
        if lines[-1] and len(lines) < most and _width(probe) > room:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _width(line: Text) -> float:
    figure = line.get_figure(root=True)
    assert figure is not None
    return line.get_window_extent().width / figure.dpi


def colour_bar(
    figure: Sheet, left: float, top: float, width: float, colormap: str, labels: tuple[str, str, str]
) -> None:
    """A horizontal bar of the colours, labelled at its left end, its middle (if there is room) and its right end."""
    _framed(figure, left, top, width, 0.07, colormaps[colormap](np.linspace(0, 1, 256)[None], bytes=True)[..., :3])
    across, down = figure.get_size_inches()
    y = 1 - (top + 0.07) / down
    shown: list[Text] = []
    for share, side, label in zip((0.0, 0.5, 1.0), ("left", "center", "right"), labels, strict=True):
        x = (left + share * width) / across
        shown.append(figure.text(x, y - 0.045 / down, label, fontsize=6, ha=side, va="top"))
        if label:
            figure.add_artist(Line2D([x, x], [y, y - 0.028 / down], color=FAINT, linewidth=0.4))
    first, middle, last = (_width(text) for text in shown)
    if middle / 2 + max(first, last) > width / 2 - 0.05:
        shown[1].remove()


def save(figure: Sheet, path: Path, dpi: int) -> None:
    """Write a PNG, whole or not at all; the same figure gives the same bytes."""
    with whole_file(path) as partial:
        figure.savefig(partial, dpi=dpi, format="png", metadata={"Software": None}, pil_kwargs={"compress_level": 4})


def plain_style() -> Any:
    """A context in which the user's own matplotlib settings do not count."""
    return matplotlib.style.context(
        ["default", {"font.family": "DejaVu Sans", "text.usetex": False, "text.parse_math": False}]
    )
