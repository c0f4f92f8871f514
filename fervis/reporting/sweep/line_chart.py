"""Numbers of a sweep's jobs as small line charts: inline SVG in the page's own colours, so that dark mode works.

All lengths are in the SVG's own units, which are pixels at a width of 320.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from markupsafe import Markup

from fervis.reporting.rendering import render_template

WIDTH, HEIGHT = 320.0, 150.0
_RIGHT, _TOP = 10.0, 10.0
_TYPE_SIZE = 11.0
_LETTER_WIDTH = 6.2  # about what a letter of this type takes
_MOST_LETTERS = 15  # of a label; longer ones are cut
COLOR_COUNT = 8  # sweep.css has a class for each
_OUTLINES = ("", "m-3-3h6v6h-6z", "m0-4l4 7h-8z", "m0-4l4 4l-4 4l-4-4z")  # circle, square, triangle, diamond
_DASHES = ("", "6 3", "2 3")


@dataclass(frozen=True)
class SweepSeries:
    """One number over the values of one setting.

    Attributes:
        quantity: the number's name, such as ``sharpness``.
        axis: the setting, such as ``layer``.
        values: its values in their order.
        lines: name of a line -> its numbers at each value; several where there are several seeds, none where there is
            no result.
        ordered: whether the order of the values means something, so that a line may join them.
        spaced: whether the values are numbers that are drawn as far apart as they are, such as epochs.
    """

    quantity: str
    axis: str
    values: tuple[str, ...]
    lines: Mapping[str, Sequence[Sequence[float]]]
    ordered: bool = True
    spaced: bool = False

    @property
    def repeated(self) -> bool:
        """Whether some value has several numbers, of several seeds."""
        return any(len(numbers) > 1 for line in self.lines.values() for numbers in line)


@dataclass(frozen=True)
class ChartView:
    """A chart as a page shows it.

    Attributes:
        quantity: the number's name.
        axis: the setting that it is drawn over.
        extent: the least and the largest mean, and where they are.
        svg: the chart.
        legend: mark and name of each line, where there are several.
    """

    quantity: str
    axis: str
    extent: str
    svg: Markup
    legend: Sequence[tuple[Markup, str]]


@dataclass(frozen=True)
class _Marker:
    color: int
    x: str
    y: str
    outline: str


@dataclass(frozen=True)
class _Stroke:
    color: int
    path: str
    dash: str = ""


@dataclass(frozen=True)
class _Label:
    x: str
    y: str
    text: str
    pivot: str = ""  # around which an upright label is turned


@dataclass(frozen=True)
class _Tick:
    height: str
    label: _Label


def chart_view(series: SweepSeries) -> ChartView:
    """Return a chart with its extent and its legend."""
    means = [
        (fmean(numbers), value)
        for line in series.lines.values()
        for numbers, value in zip(line, series.values, strict=True)
        if numbers
    ]
    (low, least), (high, most) = min(means), max(means)
    extent = f"{axis_number(low)} ({least}) to {axis_number(high)} ({most})" if low != high else axis_number(low)
    legend = [(key_mark(index), name) for index, name in enumerate(series.lines)] if len(series.lines) > 1 else []
    axis = series.axis + (" (lines: means over seeds)" if series.repeated else "")
    return ChartView(series.quantity, axis, extent, line_chart(series), legend)


def axis_number(value: float) -> str:
    """Format a number with four significant digits and a true minus sign.

    Example:
        >>> axis_number(0.3125), axis_number(-1.5e-05)
        ('0.3125', '−1.5e−05')
    """
    return f"{value:.4g}".replace("-", "\N{MINUS SIGN}")


def chart_caption(series: SweepSeries) -> str:
    """Return words that can replace the chart: the numbers of every line, means where there are several."""
    lines = []
    for name, line in series.lines.items():
        numbers = ", ".join(
            f"{value} {axis_number(fmean(group))}" for value, group in zip(series.values, line, strict=True) if group
        )
        lines.append(f"{name}: {numbers}" if name else numbers)
    means = ", means of several seeds" if series.repeated else ""
    return f"{series.quantity} over {series.axis}{means}. {'; '.join(lines)}."


def line_chart(series: SweepSeries) -> Markup:
    """Draw a series as one SVG element with its caption as accessible name; deterministic.

    A dot is a number, a line joins the (mean) numbers of one line. Colours are the classes ``c0`` to ``c7`` of the
    page's style; markers and dashes distinguish the lines in grey.
    """
    ticks = nice_ticks([number for line in series.lines.values() for numbers in line for number in numbers])
    left = 12 + _LETTER_WIDTH * max(len(axis_number(tick)) for tick in ticks)
    bottom = HEIGHT - _TYPE_SIZE
    xs, labelled, upright = _layout_labels(series, left)
    widest = _LETTER_WIDTH * max(len(series.values[index]) for index in labelled)
    foot = min(widest, 90.0) + 8 if upright else _TYPE_SIZE + 8

    def height_of(number: float) -> float:
        return bottom - (number - ticks[0]) / (ticks[-1] - ticks[0]) * (bottom - _TOP)

    rendered = render_template(
        "line_chart.html.j2",
        width=f"{WIDTH:g}",
        height=_length(bottom + foot),
        caption=chart_caption(series),
        left=_length(left),
        right=_length(WIDTH - _RIGHT),
        ticks=[
            _Tick(_length(y), _Label(_length(left - 5), _length(y + 4), axis_number(tick)))
            for tick, y in zip(ticks, map(height_of, ticks), strict=True)
        ],
        labels=[_value_label(series.values[index], xs[index], bottom, upright=upright) for index in labelled],
        lines=[
            (_strokes(index, line, xs, height_of, joined=series.ordered), _markers(index, line, xs, height_of))
            for index, line in enumerate(series.lines.values())
        ],
    )
    return Markup(rendered.strip())


def key_mark(index: int) -> Markup:
    """Draw a sample of a line for a legend."""
    stroke = _Stroke(index % COLOR_COUNT, "M1 6H25", _line_dash(index))
    return Markup(render_template("key_mark.html.j2", stroke=stroke, marker=_marker(index, 13, 6)).strip())


def nice_ticks(values: Iterable[float], most: int = 5) -> list[float]:
    """Return three to ``most`` round numbers around the values; from 0 where the values are not far above it.

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


def _layout_labels(series: SweepSeries, left: float) -> tuple[list[float], list[int], bool]:
    """Return the x of each value, the values that are labelled, and whether their labels are turned upright.

    Labels in a row are centred below their values; the outer values move inwards as far as their labels need to lie
    inside the chart. Where the labels would then meet, they are turned, and need no room at the sides.
    """
    inner = 6 if len(series.values) > 6 else 14
    first, last = left + inner, WIDTH - _RIGHT - inner
    upright_xs = _value_xs(series, first, last)
    upright_labelled = _labelled(upright_xs)
    ends = [_label_width(series.values[index]) / 2 for index in (upright_labelled[0], upright_labelled[-1])]
    xs = _value_xs(series, max(first, ends[0]), min(last, WIDTH - ends[1]))
    labelled = _labelled(xs)
    pitch = (xs[-1] - xs[0]) / max(1, len(labelled) - 1)
    widest = _LETTER_WIDTH * max(len(series.values[index]) for index in labelled)
    if len(labelled) > 1 and widest > pitch - 4:
        return upright_xs, upright_labelled, True
    return xs, labelled, False


def _value_xs(series: SweepSeries, left: float, right: float) -> list[float]:
    """Return the x of each value: as far apart as the numbers are, or evenly."""
    if len(series.values) == 1:
        return [(left + right) / 2]
    numbers = [float(value) if series.spaced else float(index) for index, value in enumerate(series.values)]
    least, most = min(numbers), max(numbers)
    return [left + (number - least) / ((most - least) or 1) * (right - left) for number in numbers]


def _labelled(xs: Sequence[float]) -> list[int]:
    """Return the values that are labelled: as many as leave each a line's height."""
    labelled: list[int] = []
    for index, x in enumerate(xs):
        if not labelled or x - xs[labelled[-1]] >= _TYPE_SIZE + 2:
            labelled.append(index)
    return labelled


def _label_text(value: str) -> str:
    return value if len(value) <= _MOST_LETTERS else f"{value[: _MOST_LETTERS - 1]}…"


def _label_width(value: str) -> float:
    return _LETTER_WIDTH * len(_label_text(value))


def _value_label(value: str, x: float, bottom: float, *, upright: bool) -> _Label:
    if upright:
        at = _length(x + 4), _length(bottom + 7)
        return _Label(*at, _label_text(value), pivot=" ".join(at))
    return _Label(_length(x), _length(bottom + _TYPE_SIZE + 4), _label_text(value))


def _strokes(
    index: int,
    line: Sequence[Sequence[float]],
    xs: Sequence[float],
    height_of: Callable[[float], float],
    *,
    joined: bool,
) -> list[_Stroke]:
    """Return a line through the means that breaks where there is no number, or a short bar at each mean of several."""
    points = [(x, numbers, height_of(fmean(numbers)) if numbers else 0.0) for x, numbers in zip(xs, line, strict=True)]
    path, pen = "", "M"
    for x, numbers, y in points:
        path += f"{pen}{_length(x)} {_length(y)}" if numbers else ""
        pen = "L" if numbers else "M"
    color = index % COLOR_COUNT
    if joined and "L" in path:
        return [_Stroke(color, path, _line_dash(index))]
    return [_Stroke(color, f"M{_length(x - 6)} {_length(y)}h12") for x, numbers, y in points if len(numbers) > 1]


def _markers(
    index: int, line: Sequence[Sequence[float]], xs: Sequence[float], height_of: Callable[[float], float]
) -> list[_Marker]:
    return [_marker(index, x, height_of(number)) for x, numbers in zip(xs, line, strict=True) for number in numbers]


def _marker(index: int, x: float, y: float) -> _Marker:
    return _Marker(index % COLOR_COUNT, _length(x), _length(y), _OUTLINES[index % len(_OUTLINES)])


def _line_dash(index: int) -> str:
    return _DASHES[index // COLOR_COUNT % len(_DASHES)]


def _length(length: float) -> str:
    """Format a length to a tenth, as short as possible."""
    return f"{round(length, 1):g}"
