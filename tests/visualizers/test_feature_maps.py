"""Sheets of outputs: every pixel has its colour on the scale that is said, and texts stay on the sheet."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure as Sheet
from PIL import Image

from fervis.core.faces import FER2013_CLASSES, Faces
from fervis.core.registry import build_plugin
from fervis.core.results import Explanation, FeatureMaps
from fervis.errors import ConfigError
from fervis.metrics.layer_means import layer_means
from fervis.visualizers.feature_maps import FeatureMapsSheet
from fervis.visualizers.figures import canvas

NUMBERS = ("sharpness", "roughness", "sparsity", "similarity", "face_visible", "face_chance")


def explained(
    *,
    rows: tuple[int, ...] = (7,),
    layers: tuple[str, ...] = ("conv7",),
    checkpoints: tuple[str, ...] = ("best",),
    **of: Any,
) -> Explanation:
    """An entry for each checkpoint, layer and face, in this order; the second checkpoint answers four times as much."""
    generator = torch.Generator().manual_seed(0)
    filters, side, channels = of.get("filters", 12), of.get("side", 6), of.get("channels", 1)
    entries = [(c, layer, row) for c in range(len(checkpoints)) for layer in layers for row in rows]
    outputs = tuple((torch.randn(filters, side, side, generator=generator) * 4**c) for c, _, _ in entries)
    n = len(entries)
    numbers = {name: torch.rand(n, generator=generator) for name in NUMBERS}
    if filters == 1:
        numbers["similarity"] = torch.full((n,), torch.nan)
    images = torch.randint(0, 256, (n, channels, 48, 48), generator=generator, dtype=torch.uint8)
    places = torch.tensor([row for _, _, row in entries])
    faces = Faces(
        images, torch.full((n,), of.get("label", 2)), places, torch.zeros(n, dtype=torch.uint8), FER2013_CLASSES
    )
    probabilities = torch.softmax(torch.randn(n, 7, generator=generator), 1)
    explanation = Explanation(
        result=FeatureMaps(
            outputs, (tuple(range(filters)),) * n, tuple((one <= 0).float().mean((1, 2)) for one in outputs), numbers
        ),
        faces=faces,
        layers=tuple(layer for _, layer, _ in entries),
        targets=(f"{filters} filters",) * n,
        predictions=probabilities.argmax(1),
        probabilities=probabilities,
        classes=FER2013_CLASSES,
        explainer="feature_maps",
        model="vgg8",
        dataset="faces",
        checkpoints=tuple(checkpoints[c] for c, _, _ in entries),
    )
    means, over = layer_means([explanation])
    return replace(explanation, means=means, means_over=over)


def tiles(path: Path, left: float, top: float, pitch: float, count: int, columns: int, side: int) -> np.ndarray:
    """[F,h,w] the grey at the middle of each unit of each tile of a grid that begins at these inches."""
    picture = np.asarray(Image.open(path).convert("RGB"))
    assert (picture[..., 0] == picture[..., 1])[int((top + 0.3) * 300) :].all()
    middles = (np.arange(side) + 0.5) / side * (pitch - 0.05)
    found = []
    for place in range(count):
        x, y = left + place % columns * pitch, top + place // columns * (pitch + 0.1) + 0.1
        found.append(picture[np.ix_(((y + middles) * 300).astype(int), ((x + middles) * 300).astype(int))][..., 0])
    return np.stack(found)


def greys(values: torch.Tensor, tops: torch.Tensor) -> np.ndarray:
    return np.asarray(matplotlib.colormaps["gray"]((values / tops).clamp(0, 1).double().numpy(), bytes=True))[..., 0]


@pytest.mark.parametrize("scale", ["own", "shared"])
@pytest.mark.parametrize("count", [12, 70])
def test_every_unit_has_its_grey_and_black_is_zero_and_below(tmp_path: Path, scale: str, count: int):
    explanation = explained(filters=count)
    (figure,) = FeatureMapsSheet(scale=scale).draw(explanation, tmp_path)
    assert figure.path.name == "7_conv7.png"
    values = explanation.result.outputs[0]
    columns = 8 if count <= 64 else 9
    pitch = (6.5 - 0.08 - 1.3 - 0.12) / columns
    found = tiles(figure.path, 0.04 + 1.3 + 0.12, 0.24, pitch, count, columns, 6)
    tops = values.amax((1, 2), keepdim=True) if scale == "own" else values.max()
    np.testing.assert_allclose(found.astype(int), greys(values, tops).astype(int), atol=1)
    assert (found[values.numpy() <= 0] == 0).all()


@pytest.mark.parametrize("scale", ["own", "shared"])
def test_checkpoints_stand_side_by_side_on_one_scale(tmp_path: Path, scale: str):
    explanation = explained(checkpoints=("best", "1"))
    figures = FeatureMapsSheet(scale=scale).draw(explanation, tmp_path)
    assert [figure.path.name for figure in figures] == ["7_conv7.png", "7_conv7_best.png", "7_conv7_1.png"]
    both = torch.stack(explanation.result.outputs)
    tops = both.amax((0, 2, 3), keepdim=True) if scale == "own" else both.max()
    expected = greys(both, tops)
    pitch = (6.5 - 0.08 - 0.16) / 2 / 8
    for place in range(2):
        left = 0.04 + place * ((6.5 - 0.08 - 0.16) / 2 + 0.16)
        found = tiles(figures[0].path, left, 0.24 + 1.0 + 0.12 + 0.16, pitch, 12, 8, 6)
        np.testing.assert_allclose(found.astype(int), expected[place].astype(int), atol=1)
        alone = tiles(figures[1 + place].path, 0.04 + 1.3 + 0.12, 0.24, (6.5 - 0.08 - 1.42) / 8, 12, 8, 6)
        np.testing.assert_allclose(alone.astype(int), expected[place].astype(int), atol=1)
    assert "Checkpoint best: " in figures[0].caption
    assert "Checkpoint 1: " in figures[0].caption


def test_captions_say_the_numbers(tmp_path: Path):
    explanation = explained(filters=2)
    (figure,) = FeatureMapsSheet(dpi=40).draw(explanation, tmp_path)
    black, numbers = explanation.result.black[0], explanation.result.numbers
    least, most = (f"{float(black[one]):.0%} of filter {int(one)}" for one in (black.argmin(), black.argmax()))
    assert figure.caption == (
        f"Outputs of 2 filters of conv7 of vgg8 for face 7 of faces, labelled fear. {float(black.mean()):.1%} is black "
        f"(at or below zero), from {least} to {most}; "
        + ", ".join(f"{name} {float(numbers[name][0]):.2f}" for name in NUMBERS)
        + "."
    )


def test_several_layers_get_a_trend_whose_caption_says_means_and_intervals(tmp_path: Path):
    rows = (3, 4, 5, 6)
    explanation = explained(rows=rows, layers=("conv1", "conv2"), side=4, filters=2)
    figures = FeatureMapsSheet(dpi=40).draw(explanation, tmp_path)
    names = [f"{row}_{layer}.png" for row in rows for layer in ("conv1", "conv2")]
    assert [figure.path.name for figure in figures] == ["trend.png", *names]
    values = explanation.result.numbers["sparsity"][:4].double()
    told = figures[0].caption.partition("one point): ")[2].partition("]")[0].replace("[", "").replace(",", "").split()
    mean, low, high = map(float, told)
    assert mean == pytest.approx(values.mean().item(), rel=0.005)
    # All 256 resamples of four faces are equally likely; the drawn ones' percentiles lie about those of all.
    means = np.array([np.mean(some) for some in itertools.product(values.tolist(), repeat=4)])
    assert np.quantile(means, 0.01) - 1e-3 <= low <= np.quantile(means, 0.05) + 1e-3
    assert np.quantile(means, 0.95) - 1e-3 <= high <= np.quantile(means, 0.99) + 1e-3


def test_of_many_faces_whole_ones_are_drawn_and_the_trend_of_all(tmp_path: Path):
    explanation = explained(rows=tuple(range(4)), layers=("conv1", "conv2"), filters=2, side=4)
    names = [figure.path.name for figure in FeatureMapsSheet(dpi=40, max_single=5).draw(explanation, tmp_path)]
    assert names == ["trend.png", "0_conv1.png", "0_conv2.png", "1_conv1.png", "1_conv2.png"]
    one_layer = explained(rows=tuple(range(9)), filters=2)
    names = [figure.path.name for figure in FeatureMapsSheet(dpi=40, max_single=0).draw(one_layer, tmp_path)]
    assert names == ["trend.png"]


def test_same_bytes_whatever_the_users_matplotlib_settings(tmp_path: Path):
    explanation = explained(layers=("conv1", "conv2"), rows=(1,), filters=2)
    first = [figure.path.read_bytes() for figure in FeatureMapsSheet(dpi=60).draw(explanation, tmp_path / "a")]
    with matplotlib.rc_context({"font.size": 20, "font.family": "serif", "lines.linewidth": 9}):
        second = [figure.path.read_bytes() for figure in FeatureMapsSheet(dpi=60).draw(explanation, tmp_path / "b")]
    assert first == second


@pytest.mark.parametrize(
    ("of", "scale"),
    [
        ({}, "own"),
        ({"filters": 1, "channels": 3, "label": -1}, "shared"),
        ({"filters": 70, "side": 3}, "own"),
        ({"filters": 64, "checkpoints": ("best", "12")}, "own"),
        ({"filters": 5, "checkpoints": ("best", "1", "20")}, "shared"),
        ({"filters": 3, "layers": tuple(f"stages.{i}.blocks" for i in range(11))}, "own"),
    ],
)
def test_texts_stay_on_the_sheet_and_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of: dict[str, Any], scale: str
):
    sheets: list[Sheet] = []
    monkeypatch.setattr(canvas, "save_figure", lambda sheet, *_: sheets.append(sheet))
    FeatureMapsSheet(dpi=100, scale=scale, clip=99.0, max_single=1).draw(explained(**of), tmp_path)
    assert sheets
    for sheet in sheets:
        width, height = sheet.get_size_inches() * 100
        texts = [text for text in sheet.texts if text.get_text()]
        texts += [label for axes in sheet.axes for label in axes.get_xticklabels() if label.get_text()]
        boxes = [text.get_window_extent() for text in texts]
        for text, box in zip(texts, boxes, strict=True):
            inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1
            assert inside, text.get_text()
        for i, one in enumerate(boxes):
            for j, other in enumerate(boxes[:i]):
                across = min(one.x1, other.x1) - max(one.x0, other.x0)
                down = min(one.y1, other.y1) - max(one.y0, other.y0)
                assert across <= 1 or down <= 2, (texts[i].get_text(), texts[j].get_text())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"scale": "share"}, "visualizer.scale=share: expected own or shared. Did you mean shared?"),
        (
            {"colormap": "grey9"},
            "visualizer.colormap=grey9: expected the name of one of matplotlib's colour maps, such as inferno",
        ),
        ({"clip": 20.0}, "visualizer.clip=20.0: expected a number from 50 to 100."),
        ({"max_single": -1}, "visualizer.max_single=-1: expected a whole number from 0 to 1000."),
    ],
)
def test_wrong_settings(change: dict[str, Any], sentence: str):
    with pytest.raises(ConfigError) as error:
        build_plugin("visualizer", "feature_maps", **change)
    assert str(error.value).startswith(sentence)
