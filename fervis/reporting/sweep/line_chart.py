"""Numbers of a sweep's jobs as small line charts: inline SVG in the page's own colours, so that it reads in the dark.

All lengths are in the SVG's own units, which are pixels at a width of 320.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from statistics import fmean

WIDTH, HEIGHT = 320.0, 150.0
RIGHT, TOP = 10.0, 10.0
TYPE_SIZE = 11.0
LETTER_WIDTH = 6.2  # about what a letter of this type takes
COLOR_COUNT = 8  # the page's style states as many
SERIES_MARKERS = ("circle", "square", "triangle", "diamond")
DASHES = ("", "6 3", "2 3")


@dataclass(frozen=True)
class SweepSeries:
    """One number over the values of one setting.

    Attributes:
        quantity: the number's name, such as ``sharpness``.
        over: the setting, such as ``layer``.
        places: its values in their order.
        series: name of a line -> the numbers at each place; several where a question was asked with several seeds,
            none where there is no answer.
        ordered: whether the order of the places means something, so that they may be joined by a line.
        spaced: whether the places are numbers that stand as far apart as they are, such as epochs.
    """

    quantity: str
    over: str
    places: tuple[str, ...]
    series: Mapping[str, Sequence[Sequence[float]]]
    ordered: bool = True
    spaced: bool = False

    @property
    def repeated(self) -> bool:
        """Whether there are several numbers at a place, of several seeds."""
        return any(len(there) > 1 for values in self.series.values() for there in values)


def axis_number(value: float) -> str:
    """Four significant digits for people: ``0.3125``, ``1.5e−05``."""
    return f"{value:.4g}".replace("-", "\N{MINUS SIGN}")


def chart_caption(trend: SweepSeries) -> str:
    """What the chart shows, in words that can stand in for it: every line's numbers, means where there are several."""
    lines = []
    for name, values in trend.series.items():
        told = ", ".join(
            f"{place} {axis_number(fmean(there))}" for place, there in zip(trend.places, values, strict=True) if there
        )
        lines.append(f"{name}: {told}" if name else told)
    return (
        f"{trend.quantity} over {trend.over}{', means of several seeds' if trend.repeated else ''}. {'; '.join(lines)}."
    )


def line_chart(trend: SweepSeries) -> str:
    """The trend as one SVG element with its caption as accessible name; deterministic.

    A dot is a number, a line joins the (mean) numbers of one series. Colours are the classes ``c0`` to ``c7`` of the
    page's style; markers and dashes tell the series apart in grey.
    """
    ticks = nice_ticks([one for values in trend.series.values() for there in values for one in there])
    left = 12 + LETTER_WIDTH * max(len(axis_number(tick)) for tick in ticks)
    across = _positions(trend, left, WIDTH - RIGHT)
    shown = _labelled(trend.places, across)
    pitch = (across[-1] - across[0]) / max(1, len(shown) - 1)
    widest = LETTER_WIDTH * max(len(trend.places[place]) for place in shown)
    upright = len(shown) > 1 and widest > pitch - 4
    foot = min(widest, 90.0) + 8 if upright else TYPE_SIZE + 8
    bottom = HEIGHT - TYPE_SIZE

    def down(value: float) -> float:
        return bottom - (value - ticks[0]) / (ticks[-1] - ticks[0]) * (bottom - TOP)

    parts = [_grid_lines_svg(left, down, ticks), _axis_names(trend.places, across, shown, bottom, upright=upright)]
    for order, values in enumerate(trend.series.values()):
        parts.append(_series(order, values, across, down, joined=trend.ordered))
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH:g} {_at(bottom + foot)}" role="img" '
        f'aria-label="{escape(chart_caption(trend))}">{"".join(parts)}</svg>'
    )


def key_mark(order: int) -> str:
    """The look of a series beside its name in a legend."""
    dash = DASHES[order // COLOR_COUNT % len(DASHES)]
    return (
        f'<svg class="key" viewBox="0 0 26 12" aria-hidden="true"><path class="line c{order % COLOR_COUNT}" d="M1 6H25"'
        f"{_dashed(dash)}/>{_marker(order, 13, 6)}</svg>"
    )


def nice_ticks(values: Iterable[float], most: int = 5) -> list[float]:
    """Three to ``most`` round numbers around the values; from 0 where the values are not far above it.

    Example:
        >>> nice_ticks([0.41, 0.52])
        [0.4, 0.45, 0.5, 0.55]
    """
    finite = [value for value in values if math.isfinite(value)] or [0.0]
    low, high = min(finite), max(finite)
    if low > 0 and low < 0.4 * high:
        low = 0.0
    if low == high:
        low, high = low - (abs(low) / 10 or 1), high + (abs(high) / 10 or 1)
    for power in range(math.floor(math.log10(high - low)) - 1, math.floor(math.log10(high - low)) + 2):
        for step in (1, 2, 5):
            size = step * 10.0**power
            first, last = math.floor(low / size + 1e-9), math.ceil(high / size - 1e-9)
            if last - first < most:
                return [float(f"{tick * size:.12g}") for tick in range(first, last + 1)]
    return [low, high]


def _positions(trend: SweepSeries, left: float, right: float) -> list[float]:
    """Where each place stands: as far apart as their numbers are, or evenly."""
    inner = 6 if len(trend.places) > 6 else 14
    left, right = left + inner, right - inner
    if len(trend.places) == 1:
        return [(left + right) / 2]
    at = [float(place) for place in trend.places] if trend.spaced else [float(i) for i in range(len(trend.places))]
    least, most = min(at), max(at)
    return [left + (one - least) / ((most - least) or 1) * (right - left) for one in at]


def _labelled(places: Sequence[str], across: Sequence[float]) -> list[int]:
    """The places whose names are written: as many as leave each a line's height."""
    shown: list[int] = []
    for place in range(len(places)):
        if not shown or across[place] - across[shown[-1]] >= TYPE_SIZE + 2:
            shown.append(place)
    return shown


def _grid_lines_svg(left: float, down: Callable[[float], float], ticks: Sequence[float]) -> str:
    lines = ""
    for tick in ticks:
        y = down(tick)
        lines += f'<path class="grid" d="M{_at(left)} {_at(y)}H{_at(WIDTH - RIGHT)}"/>'
        lines += f'<text x="{_at(left - 5)}" y="{_at(y + 4)}" text-anchor="end">{axis_number(tick)}</text>'
    return lines


def _axis_names(
    places: Sequence[str], across: Sequence[float], shown: Sequence[int], bottom: float, *, upright: bool
) -> str:
    names = ""
    for place in shown:
        x, y = across[place], bottom + TYPE_SIZE + 4
        name = places[place] if len(places[place]) <= 15 else f"{places[place][:14]}…"
        turned = f' transform="rotate(-90 {_at(x + 4)} {_at(bottom + 7)})"' if upright else ""
        x, y, anchor = (x + 4, bottom + 7, "end") if upright else (x, y, "middle")
        names += f'<text x="{_at(x)}" y="{_at(y)}" text-anchor="{anchor}"{turned}>{escape(name)}</text>'
    return names


def _series(
    order: int,
    values: Sequence[Sequence[float]],
    across: Sequence[float],
    down: Callable[[float], float],
    *,
    joined: bool,
) -> str:
    """A line through the means, a dot for each number; the line is broken where a place has none."""
    drawn = ""
    pen = "M"
    for x, there in zip(across, values, strict=True):
        drawn += f"{pen}{_at(x)} {_at(down(fmean(there)))}" if there else ""
        pen = "L" if there else "M"
    colour = f"c{order % COLOR_COUNT}"
    line = f'<path class="line {colour}" d="{drawn}"{_dashed(DASHES[order // COLOR_COUNT % len(DASHES)])}/>'
    dots = "".join(_marker(order, x, down(one)) for x, there in zip(across, values, strict=True) for one in there)
    means = "".join(
        f'<path class="line {colour}" d="M{_at(x - 6)} {_at(down(fmean(there)))}h12"/>'
        for x, there in zip(across, values, strict=True)
        if len(there) > 1
    )
    return (line if joined and "L" in drawn else means) + dots


def _marker(order: int, x: float, y: float) -> str:
    css = f'class="dot c{order % COLOR_COUNT}"'
    shape = SERIES_MARKERS[order % len(SERIES_MARKERS)]
    if shape == "circle":
        return f'<circle {css} cx="{_at(x)}" cy="{_at(y)}" r="3"/>'
    outline = {"square": "m-3-3h6v6h-6z", "triangle": "m0-4l4 7h-8z", "diamond": "m0-4l4 4l-4 4l-4-4z"}[shape]
    return f'<path {css} d="M{_at(x)} {_at(y)}{outline}"/>'


def _dashed(dash: str) -> str:
    return f' stroke-dasharray="{dash}"' if dash else ""


def _at(length: float) -> str:
    """A length to a tenth, as short as it goes."""
    return f"{round(length, 1):g}"
