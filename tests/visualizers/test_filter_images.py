"""Filter images as figures: which files, what the sheets say, and that pixels are drawn as they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fervis.core.faces import Faces
from fervis.core.registry import build_plugin
from fervis.core.results import Explanation, FilterImages
from fervis.errors import ConfigError
from fervis.metrics.layer_means import layer_means
from fervis.metrics.representation.image_symmetry import symmetric_pairs_of
from fervis.visualizers.figures.image_grid import TALLEST_PAGE, ImageGrid


def explanation(layers: dict[str, int], checkpoints: tuple[str, ...] = ("best",), twins: bool = False) -> Explanation:
    names = [(ck, layer, one) for ck in checkpoints for layer, count in layers.items() for one in range(count)]
    count = len(names)
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(count, 1, 12, 12, generator=generator) * 0.5 + 0.1
    numbers = {"strength": torch.rand(count, generator=generator), "frequency": torch.rand(count, generator=generator)}
    result = FilterImages(
        images=images,
        reached=torch.arange(count) + 1.0,
        noise=torch.zeros(count),
        strongest=torch.full((count,), 1.5),
        strongest_rows=torch.arange(count),
        trace=torch.zeros(count, 3),
        numbers=numbers,
        unit="mean output of the filter",
    )
    nobody = torch.zeros(0, dtype=torch.int64)
    faces = Faces(torch.zeros(0, 1, 12, 12, dtype=torch.uint8), nobody, nobody, nobody, ("a", "b"))
    told = Explanation(
        result=result,
        faces=faces,
        layers=tuple(layer for _, layer, _ in names),
        targets=tuple(f"{layer}/{one}" for _, layer, one in names),
        predictions=nobody,
        probabilities=torch.zeros(0, 2),
        classes=("a", "b"),
        explainer="filters",
        model="vgg8",
        dataset="faces",
        checkpoints=tuple(ck for ck, _, _ in names),
    )
    if twins:
        groups = [symmetric_pairs_of(images[some]).rows() for some in told.entries_by_layer().values() if len(some) > 1]
        pairs = {key: tuple(one for group in groups for one in group[key]) for key in groups[0]} if groups else {}
        told = replace(told, result=replace(result, pairs=pairs))
    means, over = layer_means([told])
    return replace(told, means=means, means_over=over)


@pytest.mark.parametrize(
    ("layers", "checkpoints", "twins", "files"),
    [
        ({"conv7": 3}, ("best",), False, ["overview", "reached"]),
        ({"conv7": 1}, ("best",), True, ["overview", "reached"]),
        ({"conv7": 3}, ("best",), True, ["overview", "reached", "twins_conv7"]),
        ({"conv1": 2, "conv2": 3}, ("best",), False, ["overview", "reached", "trend"]),
        ({"conv7": 2}, ("best", "1"), True, ["overview", "reached", "twins_conv7_best", "twins_conv7_1"]),
        ({"conv7": 100}, ("best",), False, ["overview", "overview_2", "reached"]),
    ],
)
def test_which_files(
    layers: dict[str, int], checkpoints: tuple[str, ...], twins: bool, files: list[str], tmp_path: Path
):
    figures = build_plugin("visualizer", "filter_images", dpi=50).draw(
        explanation(layers, checkpoints, twins), tmp_path
    )
    assert [figure.path.name for figure in figures] == [f"{name}.png" for name in files]
    for figure in figures:
        with Image.open(figure.path) as picture:
            assert picture.width == 325
            assert picture.height <= 50 * 11
        assert figure.caption.endswith(".")


def test_captions_say_the_numbers(tmp_path: Path):
    overview, reached = build_plugin("visualizer", "filter_images", dpi=30).draw(explanation({"conv7": 3}), tmp_path)
    assert "conv7/1 2, 0, 1.5" in overview.caption
    assert (
        "conv7: 2 of 3 at or beyond the strongest face; medians: reached 2, noise 0, strongest face 1.5."
        in reached.caption
    )


def test_the_same_answer_gives_the_same_bytes(tmp_path: Path):
    for name in "ab":
        build_plugin("visualizer", "filter_images", dpi=60).draw(
            explanation({"a": 2, "b": 2}, twins=True), tmp_path / name
        )
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert len(files) == 5
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_pixels_are_drawn_as_they_are_or_each_on_its_own_scale():
    image = torch.tensor([[0.2, 0.4], [0.6, 0.8]])[None]
    shared = build_plugin("visualizer", "filter_images").pixels(image)
    assert np.array_equal(shared[..., 0], [[51, 102], [153, 204]])
    own = build_plugin("visualizer", "filter_images", scale="own").pixels(image)
    assert np.array_equal(own[..., 2], [[0, 85], [170, 255]])


def test_an_image_is_where_the_layout_says(tmp_path: Path):
    told = explanation({"conv7": 2})
    figure = build_plugin("visualizer", "filter_images", dpi=200).draw(told, tmp_path)[0]
    layout = ImageGrid.of({"conv7": {"best": [0, 1]}})
    picture = np.asarray(Image.open(figure.path))
    side = layout.pitch - 0.05
    assert isinstance(told.result, FilterImages)
    for number in range(2):
        left, top = layout.left(0) + number * layout.pitch, 0.36 + 0.11
        centres = (np.arange(12) + 0.5) * side / 12
        rows, columns = (np.round(200 * (start + centres)).astype(int) for start in (top, left))
        expected = np.round(255 * told.result.images[number, 0].numpy())
        assert np.abs(picture[rows[:, None], columns, 0] - expected).max() <= 1


@pytest.mark.parametrize("layers", [1, 2, 9])
@pytest.mark.parametrize("checkpoints", [1, 2, 3])
@pytest.mark.parametrize("count", [1, 5, 16, 150])
def test_every_image_has_a_place_on_a_page(layers: int, checkpoints: int, count: int):
    blocks = {f"l{i}": {f"c{j}": list(range(count)) for j in range(checkpoints)} for i in range(layers)}
    layout = ImageGrid.of(blocks)
    pages = layout.pages(blocks)
    assert all(layout.height(rows) <= TALLEST_PAGE for rows in pages)
    assert layout.left(checkpoints - 1) + layout.columns * layout.pitch <= 6.5 + 1e-9
    shown = [(layer, one) for rows in pages for layer, first, end in rows for one in range(count)[first:end]]
    assert shown == [(layer, one) for layer in blocks for one in range(count)]


def test_settings_are_checked():
    with pytest.raises(ConfigError, match="Did you mean shared"):
        build_plugin("visualizer", "filter_images", scale="share")
    with pytest.raises(ConfigError, match=r"visualizer.dpi=5"):
        build_plugin("visualizer", "filter_images", dpi=5)
