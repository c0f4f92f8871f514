"""Line charts of a sweep: where dots stand, what the caption says, ticks; against closed forms."""

from __future__ import annotations

import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from fervis.reporting.sweep.line_chart import SweepSeries, axis_number, chart_caption, key_mark, line_chart, nice_ticks

SVG = "{*}"


def dots(svg: str) -> list[tuple[float, float]]:
    return dots_of(ElementTree.fromstring(svg))


def dots_of(root: ElementTree.Element) -> list[tuple[float, float]]:
    return [(float(dot.attrib["cx"]), float(dot.attrib["cy"])) for dot in root.iterfind(f".//{SVG}circle")]


def trend(values: list[list[float]], names: tuple[str, ...] = ("conv1", "conv2", "conv3"), **more: bool) -> SweepSeries:
    return SweepSeries("sharpness", "layer", names, {"": values}, **more)


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([0.41, 0.52], [0.4, 0.45, 0.5, 0.55]),
        ([1.0, 10.0], [0, 5, 10]),
        ([0.0, 1.0], [0, 0.5, 1]),
        ([-3.0, 4.0], [-4, -2, 0, 2, 4]),
        ([2.0, 2.0], [1.8, 1.9, 2.0, 2.1, 2.2]),
        ([0.0], [-1, -0.5, 0, 0.5, 1]),
        ([3e-6, 9e-6], [0, 5e-6, 1e-5]),
        ([float("nan"), 0.0, 100.0], [0, 50, 100]),
    ],
)
def test_ticks_are_round_and_hold_the_values(values: list[float], ticks: list[float]) -> None:
    assert nice_ticks(values) == pytest.approx(ticks)


def test_ticks_hold_any_values() -> None:
    for power in range(-8, 9):
        for low, high in ((1.01, 9.99), (-7.3, 0.2), (3.14, 3.15), (999.0, 1001.0)):
            values = [low * 10.0**power, high * 10.0**power]
            ticks = nice_ticks(values)
            assert 2 <= len(ticks) <= 5
            assert ticks[0] <= values[0] * (1 + 1e-9) + 1e-9 * abs(values[0])
            assert ticks[-1] >= values[1] - 1e-9 * abs(values[1])
            steps = [b - a for a, b in pairwise(ticks)]
            assert max(steps) == pytest.approx(min(steps), rel=1e-6)


def test_dots_are_drawn_at_their_numbers() -> None:
    (x1, y1), (x2, y2), (x3, y3) = dots(line_chart(trend([[0.0], [1.0], [0.5]])))
    assert x2 - x1 == pytest.approx(x3 - x2, abs=0.11)
    assert y3 == pytest.approx((y1 + y2) / 2, abs=0.11)
    assert y2 < y3 < y1  # up is more


def test_epochs_are_spaced_by_their_numbers() -> None:
    values = [[0.0], [1.0], [2.0]]
    (a, _), (b, _), (c, _) = dots(line_chart(trend(values, ("1", "2", "11"), spaced=True)))
    assert (b - a) / (c - a) == pytest.approx(0.1, abs=0.002)


def test_lines_join_means_and_break_where_nothing_is() -> None:
    svg = line_chart(trend([[0.0, 1.0], [], [0.25], [0.75]], ("a1", "a2", "a3", "a4")))
    (line,) = (path.attrib["d"] for path in ElementTree.fromstring(svg).iterfind(f"{SVG}path[@class='line c0']"))
    points = [tuple(map(float, point.split())) for point in re.findall(r"[ML]([\d. ]+)", line)]
    low, high, *others = dots(svg)
    assert points[0] == pytest.approx((low[0], (low[1] + high[1]) / 2), abs=0.11)
    assert points[1:] == others
    assert re.sub(r"[\d. ]", "", line) == "MML"


def test_unordered_values_are_not_joined() -> None:
    svg = line_chart(trend([[0.0, 1.0], [1.0], [2.0]], ("lime", "gradcam", "rise"), ordered=False))
    (mean,) = ElementTree.fromstring(svg).iterfind(f"{SVG}path[@class='line c0']")
    low, high = dots(svg)[:2]
    start = re.fullmatch(r"M([\d.]+) ([\d.]+)h12", mean.attrib["d"])  # a short bar; none through a single number
    assert start
    assert float(start[1]) == pytest.approx(low[0] - 6, abs=0.11)
    assert float(start[2]) == pytest.approx((low[1] + high[1]) / 2, abs=0.11)


def test_series_differ_in_colour_and_marker_and_beyond_in_dashes() -> None:
    many = SweepSeries("a", "layer", ("conv1", "conv2"), {f"s{order}": [[order], [order]] for order in range(10)})
    root = ElementTree.fromstring(line_chart(many))
    lines = [path for path in root.iterfind(f"{SVG}path") if path.attrib["class"].startswith("line")]
    assert len({(line.attrib["class"], line.get("stroke-dasharray")) for line in lines}) == 10
    assert [line.attrib["class"] for line in lines[:2]] == ["line c0", "line c1"]
    assert 'class="line c1"' in key_mark(9)
    assert "stroke-dasharray" in key_mark(9)
    assert "stroke-dasharray" not in key_mark(1)


def test_caption_can_replace_the_chart() -> None:
    caption = chart_caption(
        SweepSeries("sharpness", "layer", ("conv1", "conv2"), {"lime": [[0.5], [-0.25]], "rise": [[], [1e-5]]})
    )
    assert caption == "sharpness over layer. lime: conv1 0.5, conv2 \N{MINUS SIGN}0.25; rise: conv2 1e\N{MINUS SIGN}05."
    assert (
        chart_caption(trend([[1.0, 2.0], [3.0], []]))
        == "sharpness over layer, means of several seeds. conv1 1.5, conv2 3."
    )
    label = ElementTree.fromstring(line_chart(trend([[0.5], [1.0], [1.5]]))).attrib
    assert (label["role"], label["aria-label"]) == ("img", "sharpness over layer. conv1 0.5, conv2 1, conv3 1.5.")


def test_labels_fit() -> None:
    """Names that would meet are turned, names too long are cut, and of too many some are left out."""
    names = tuple(f"a_long_layer_name_{number}" for number in range(60))
    root = ElementTree.fromstring(line_chart(trend([[float(number)] for number in range(60)], names)))
    labels = [text for text in root.iterfind(f"{SVG}text") if text.get("transform")]
    assert 10 < len(labels) < 30
    xs = [float(text.attrib["x"]) for text in labels]
    assert min(b - a for a, b in pairwise(xs)) >= 11
    assert all(text.text == "a_long_layer_n…" for text in labels)
    width, height = map(float, root.attrib["viewBox"].split()[2:])
    assert width == 320
    assert all(float(text.attrib["y"]) + 90 < height for text in labels)


@pytest.mark.parametrize(
    "names",
    [
        ("conv1", "conv3", "last_conv"),
        ("vgg8", "mini_xception"),
        ("mini_xception", "vgg8"),
        ("input", "conv1", "conv2", "conv3", "conv4", "conv5", "last"),
        ("a_quite_long_name", "another_long_name"),
        ("the_only_value_here",),
    ],
)
def test_no_label_is_cut(names: tuple[str, ...]) -> None:
    root = ElementTree.fromstring(line_chart(trend([[float(index)] for index in range(len(names))], names)))
    labels = [text for text in root.iterfind(f"{SVG}text") if text.attrib["text-anchor"] == "middle"]
    assert len(labels) == len(names)
    # Letters of the page's type are less than 6.3 wide on average at its size of 11.
    spans = [
        (float(label.attrib["x"]) - 3.1 * len(label.text or ""), float(label.attrib["x"]) + 3.1 * len(label.text or ""))
        for label in labels
    ]
    assert min(low for low, _ in spans) >= -0.1
    assert max(high for _, high in spans) <= 320.1
    assert all(right < left for (_, right), (left, _) in pairwise(spans))
    assert [float(label.attrib["x"]) for label in labels] == pytest.approx([x for x, _ in dots_of(root)], abs=0.11)


def test_markup_in_names_is_text() -> None:
    evil = '<b x="1">&'
    svg = line_chart(SweepSeries(evil, evil, (evil, "b"), {evil: [[1.0], [2.0]]}))
    root = ElementTree.fromstring(svg)  # would fail on markup that is not whole
    assert root.attrib["aria-label"].startswith(f"{evil} over {evil}. {evil}: {evil} 1")
    assert [text.text for text in root.iterfind(f"{SVG}text")][-2:] == [evil, "b"]


def test_same_trend_same_bytes() -> None:
    assert line_chart(trend([[0.1], [0.2], [0.3]])) == line_chart(trend([[0.1], [0.2], [0.3]]))
    assert axis_number(-0.123456) == "\N{MINUS SIGN}0.1235"
