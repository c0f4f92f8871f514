from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Sheet
from matplotlib.image import BboxImage
from matplotlib.text import Text
from PIL import Image
from torch import Tensor

from fervis.core.faces import FER2013_CLASSES, Faces
from fervis.core.registry import build_plugin
from fervis.core.results import Confusion, Explanation
from fervis.errors import ConfigError
from fervis.metrics.classifier.confusion import format_recall
from fervis.visualizers.figures.confusion_difference import (
    DIVERGING,
    LabelledMatrix,
    compare_matrices,
    difference_figure,
    format_points,
    largest_differences,
)
from fervis.visualizers.figures.confusion_matrix import matrix
from fervis.visualizers.figures.per_class import per_class_sheet
from fervis.visualizers.figures.style import plain_style

BEST = [
    [315, 2, 38, 10, 72, 5, 49],
    [17, 24, 4, 3, 5, 2, 0],
    [63, 1, 227, 18, 113, 44, 62],
    [13, 1, 15, 785, 20, 17, 28],
    [53, 2, 44, 29, 336, 6, 124],
    [13, 1, 46, 24, 6, 318, 8],
    [15, 1, 22, 30, 89, 10, 459],
]


def worse(counts: Sequence[Sequence[int]], part: float = 0.4) -> list[list[int]]:
    """A part of each class's right answers goes to the next class but two."""
    found = [list(row) for row in counts]
    for index, row in enumerate(found):
        moved = int(part * row[index])
        row[index] -= moved
        row[(index + 3) % len(row)] += moved
    return found


def table_of(counts: Tensor, half: float) -> dict[str, Any]:
    """Metrics with intervals of one half width."""

    def metric(value: float) -> dict[str, float | None]:
        known = not np.isnan(value)
        return {
            "value": value if known else None,
            "low": max(0.0, value - half) if known else None,
            "high": min(1.0, value + half) if known else None,
        }

    cells = counts.double()
    right, occurs, predicted = cells.diagonal(), cells.sum(1), cells.sum(0)
    rates = {"recall": right / occurs, "precision": right / predicted, "f1": 2 * right / (occurs + predicted)}
    return {
        "n": int(counts.sum()),
        "accuracy": metric(float(right.sum() / cells.sum())),
        "macro_f1": metric(float(rates["f1"].nanmean())),
        "ece": metric(0.04),
        "per_class": {
            name: {rate: metric(float(values[index])) for rate, values in rates.items()}
            for index, name in enumerate(FER2013_CLASSES[: len(counts)])
        },
    }


def explained(*matrices: Sequence[Sequence[int]], half: float = 0.03) -> Explanation:
    counts = torch.tensor(matrices)
    shares = counts.double() / counts.sum(-1, keepdim=True)
    low, high = ((shares + by).clamp(0, 1).float() for by in (-half, half))
    count = len(matrices)
    empty = torch.empty(0, dtype=torch.int64)
    faces = Faces(torch.empty(0, 1, 4, 4, dtype=torch.uint8), empty, empty, empty.byte(), FER2013_CLASSES)
    return Explanation(
        result=Confusion(counts, low, high, tuple(table_of(each, half) for each in counts), "test"),
        faces=faces,
        layers=("network",) * count,
        targets=("7 classes",) * count,
        predictions=empty,
        probabilities=torch.empty(0, 7),
        classes=FER2013_CLASSES[: counts.shape[1]],
        explainer="confusion",
        model="vgg8",
        dataset="fer2013",
        checkpoints=("best", "1", "2", "3", "4")[:count],
    )


def counted(rows: Sequence[Sequence[int]], name: str, half: float = 0.03) -> LabelledMatrix:
    counts = np.array(rows)
    shares = counts / counts.sum(1, keepdims=True)
    ends = np.clip(np.stack([shares - half, shares + half], -1), 0, 1)
    return LabelledMatrix(
        name, "accuracy 68.7 % [67.2, 70.2]", counts, ends, ["Happy is recalled best.", "Fear is not."]
    )


def assert_readable(sheet: Sheet) -> list[Text]:
    """No text leaves the sheet, meets another or is too small for print."""
    FigureCanvasAgg(sheet).draw()
    width, height = sheet.get_size_inches() * sheet.dpi
    assert width / sheet.dpi <= 6.5 + 1e-6
    labels = [label for axes in sheet.axes for label in axes.get_xticklabels()]
    found = [text for text in (*sheet.texts, *labels) if text.get_text()]
    assert min(text.get_fontsize() for text in found) >= 5
    boxes = np.array([text.get_window_extent().extents for text in found])
    assert boxes.min() >= 0
    assert (boxes[:, 2:] <= (width, height)).all()
    shared = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:]) - np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    meet = np.argwhere(np.triu(shared.min(-1) > 4, 1))  # four dots: a line's box is taller than its ink
    assert not meet.size, [(found[one].get_text(), found[other].get_text()) for one, other in meet]
    assert not [text.get_text() for text in found if "…" in text.get_text()]
    return found


def texts_of(sheet: Sheet) -> list[str]:
    return [text.get_text() for text in sheet.texts]


@pytest.mark.parametrize(("count", "intervals"), [(2, "all"), (3, "diagonal"), (5, "all")])
def test_matrices_side_by_side_can_be_read(count: int, intervals: str) -> None:
    those = [counted(worse(BEST, 0.1 * index), f"checkpoint {index}") for index in range(count)]
    with plain_style():
        assert_readable(
            compare_matrices(those, FER2013_CLASSES, title="vgg8", dpi=300, show="both", intervals=intervals)
        )


def test_all_matrices_have_one_scale_and_two_their_difference() -> None:
    those = [counted(BEST, "checkpoint best"), counted(worse(BEST), "checkpoint 1")]
    with plain_style():
        sheet = compare_matrices(those, FER2013_CLASSES, title="vgg8", dpi=100, show="share", intervals="none")
    grids = [a.get_array() for a in sheet.artists if isinstance(a, BboxImage) and np.shape(a.get_array()) == (7, 7, 3)]
    shares = [each.counts / each.counts.sum(1, keepdims=True) for each in those]
    assert len(grids) == 3
    for grid, share in zip(grids, shares, strict=False):
        np.testing.assert_array_equal(grid, colormaps["Blues"](share, bytes=True)[..., :3])
    change = shares[0] - shares[1]
    most = 40  # per cent: the largest change, 35.7, in steps of five
    assert np.abs(change).max() == pytest.approx(0.3572, abs=1e-3)
    np.testing.assert_array_equal(grids[2], colormaps[DIVERGING](0.5 + 50 * change / most, bytes=True)[..., :3])
    said = texts_of(sheet)
    assert "checkpoint best less checkpoint 1" in said
    assert {"\N{MINUS SIGN}40", "+40 points"} <= set(said)
    for value in change.flatten():
        assert format_points(float(value)) in said
    with plain_style():
        three = compare_matrices(
            [*those, those[0]], FER2013_CLASSES, title="vgg8", dpi=100, show="share", intervals="none"
        )
    assert not [text for text in texts_of(three) if " less " in text]


def test_differences_and_where_the_intervals_do_not_meet() -> None:
    first, second = counted([[90, 10], [40, 60]], "best", 0.05), counted([[84, 16], [60, 40]], "1", 0.05)
    change, apart = difference_figure(first, second)
    np.testing.assert_allclose(change, [[0.06, -0.06], [-0.2, 0.2]])
    assert apart.tolist() == [[False, False], [True, True]]
    assert largest_differences(first, second, ("a", "b"), most=3) == [
        "b called a: \N{MINUS SIGN}20 points",
        "b recalled: +20 points",
        "a recalled: +6 points",
    ]
    never, seldom, often = (counted([[100 - n, n], [50, 50]], str(n), 0.004) for n in (0, 2, 5))
    assert never.intervals is not None
    assert never.intervals[0, 1].tolist() == [0, 0.004]
    assert not difference_figure(never, seldom)[1].any()  # none of 100 may well be 3 %
    assert difference_figure(never, often)[1].tolist() == [[True, True], [False, False]]
    blind = LabelledMatrix("1", "", second.counts, None, ())
    assert not difference_figure(first, blind)[1].any()


@pytest.mark.parametrize(
    ("change", "text"), [(0.124, "+12"), (-0.126, "\N{MINUS SIGN}13"), (0.004, "0"), (-0.004, "0"), (1.0, "+100")]
)
def test_points_of_a_change(change: float, text: str) -> None:
    assert format_points(change) == text


@pytest.mark.parametrize(
    ("show", "intervals", "cell", "off", "none"),
    [
        ("both", "diagonal", ["64", "315", "61\N{EN DASH}67"], ["15", "72"], ["0"]),
        ("share", "none", ["64"], ["15"], ["0"]),
        ("counts", "none", ["315"], ["72"], ["0"]),
        ("share", "all", ["64", "61\N{EN DASH}67"], ["15", "12\N{EN DASH}18"], ["0", "0\N{EN DASH}3"]),
    ],
)
def test_cells_say_what_was_asked(show: str, intervals: str, cell: list, off: list, none: list) -> None:
    one = counted(BEST, "vgg8")
    ends = None if intervals == "none" else one.intervals
    with plain_style():
        sheet = matrix(
            one.counts,
            FER2013_CLASSES,
            title="vgg8",
            intervals=ends,
            dpi=100,
            show=show,
            everywhere=intervals == "all",
            words=["Happy is recalled best.", "word " * 60],
        )
        assert_readable(sheet)
    (grid,) = [a for a in sheet.artists if isinstance(a, BboxImage) and np.shape(a.get_array()) == (7, 7, 3)]
    place = grid.get_window_extent()

    def inside(row: int, column: int) -> list[str]:
        left, top, side = place.x0 + column * place.width / 7, place.y1 - row * place.height / 7, place.width / 7
        boxes = [(text.get_text(), text.get_window_extent()) for text in sheet.texts]
        return [
            name for name, b in boxes if left < (b.x0 + b.x1) / 2 < left + side and top - side < (b.y0 + b.y1) / 2 < top
        ]

    assert (inside(0, 0), inside(0, 4), inside(1, 6)) == (cell, off, none)
    assert "Happy is recalled best." in texts_of(sheet)


@pytest.mark.parametrize("count", [1, 3])
def test_numbers_of_each_class_stand_beside_their_dots(count: int) -> None:
    explanation = explained(*([BEST, worse(BEST), worse(BEST, 0.2), worse(BEST, 0.1)][:count]))
    tables = [table["per_class"] for table in explanation.result.metrics]
    names = [f"checkpoint {index}" for index in range(count)]
    with plain_style():
        sheet = per_class_sheet(tables, names, FER2013_CLASSES, title="vgg8", notes=["accuracy"] * count, dpi=300)
        found = assert_readable(sheet)
    at = {text.get_text(): text.get_window_extent() for text in found}
    assert len(sheet.axes) == 3
    for axes, metric in zip(sheet.axes, ("recall", "precision", "f1"), strict=True):
        dots = [line for line in axes.lines if line.get_marker() not in ("None", None)]
        whiskers = [line for line in axes.lines if line.get_marker() == "None" and len(set(line.get_ydata())) == 1]
        whiskers = [line for line in whiskers if line.get_zorder() == 3]
        assert len(dots) == len(whiskers) == 7 * count
        for place, name in enumerate(FER2013_CLASSES):
            for table, dot, whisker in zip(
                tables, dots[place * count : (place + 1) * count], whiskers[place * count :], strict=False
            ):
                value = table[name][metric]
                assert dot.get_xdata()[0] == pytest.approx(100 * value["value"])
                np.testing.assert_allclose(whisker.get_xdata(), [100 * value["low"], 100 * value["high"]])
                low, high = 100 * value["low"], 100 * value["high"]
                box = at[f"{100 * value['value']:.1f} [{low:.0f}, {high:.0f}]"]
                if count == 1:
                    y = axes.transData.transform((0, dot.get_ydata()[0]))[1]
                    assert any(abs((b.y0 + b.y1) / 2 - y) < 6 for b in (box, at[name]))


def test_files_and_captions(tmp_path: Path) -> None:
    figures = build_plugin("visualizer", "confusion", dpi=60).draw(explained(BEST), tmp_path)
    assert [figure.path.name for figure in figures] == ["confusion.png", "per_class.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["confusion.png", "per_class.png"]
    right, total = sum(BEST[k][k] for k in range(7)), sum(map(sum, BEST))
    assert figures[0].caption.startswith(
        "vgg8 on fer2013, test. Confusion matrix: rows are true classes, columns predicted ones, each row in per cent "
        f"of its faces. Accuracy {100 * right / total:.1f} % [65.7, 71.7], macro-F1 "
    )
    assert "Happy is recalled best: 89.3 % [86.3, 92.3] and fear is recalled worst: 43.0 % [40.0, 46.0]" in (
        figures[0].caption
    )
    assert "Most confused: disgust is called angry in 31 % [28, 34] of its faces; fear is called sad in 21 %" in (
        figures[0].caption
    )
    assert "F1 of vgg8 in per cent: angry 64.3, disgust 55.2, fear 49.1, happy 88.3" in figures[1].caption
    with Image.open(figures[1].path) as picture:
        assert picture.size[0] == 6.5 * 60


def test_two_checkpoints_are_contrasted_in_words_and_the_same_bytes_come_twice(tmp_path: Path) -> None:
    plugin = build_plugin("visualizer", "confusion", dpi=60)
    one, two = (plugin.draw(explained(BEST, worse(BEST)), tmp_path / name) for name in ("a", "b"))
    assert [figure.path.read_bytes() for figure in one] == [figure.path.read_bytes() for figure in two]
    caption = one[0].caption
    assert "Checkpoint best: accuracy 68.7 %" in caption
    assert "Checkpoint 1: accuracy" in caption
    assert "Largest differences, checkpoint best less checkpoint 1: happy recalled: +36 points" in caption
    assert "F1 of checkpoint best" in one[1].caption
    assert "F1 of checkpoint 1" in one[1].caption


def test_an_interval_that_a_bootstrap_cannot_tell_is_not_told() -> None:
    assert format_recall(0.0, 0.0, 0.0) == "0.0 %"
    assert format_recall(1.0, 1.0, 1.0, digits=0) == "100 %"
    assert format_recall(0.25, float("nan"), float("nan")) == "25.0 %"
    assert format_recall(0.214, 0.178, 0.249, digits=0) == "21 % [18, 25]"


def test_classes_without_faces_and_never_predicted_are_drawn(tmp_path: Path) -> None:
    explanation = explained([[3, 0, 0], [0, 0, 0], [2, 0, 2]])
    figures = build_plugin("visualizer", "confusion", dpi=60, intervals="all").draw(explanation, tmp_path)
    assert "nan" not in "".join(figure.caption for figure in figures)
    assert re.search(r"F1 of vgg8 in per cent: angry \d+\.\d, fear \d+\.\d\.", figures[1].caption)


@pytest.mark.parametrize(
    ("knobs", "said"),
    [
        ({"show": "count"}, "visualizer.show=count: expected share, counts or both. Did you mean counts?"),
        ({"intervals": "some"}, "visualizer.intervals=some: expected none, diagonal or all."),
        ({"dpi": 5}, "visualizer.dpi=5: expected a whole number from 30 to 1200."),
        ({"confusions": -1}, "visualizer.confusions=-1: expected a whole number from 0 to 20."),
    ],
)
def test_wrong_knobs_are_refused(knobs: dict, said: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(said)}"):
        build_plugin("visualizer", "confusion", **knobs)
