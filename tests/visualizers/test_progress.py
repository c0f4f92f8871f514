"""The figure of a training: what is drawn, in which order of brightness, and what it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.text import Text
from PIL import Image

from fervis.core.faces import Faces
from fervis.core.registry import build_plugin
from fervis.core.results import Explanation, Progress
from fervis.errors import ConfigError, RunError
from fervis.visualizers.figures.style import plain_style

EPOCHS = (1, 2, 3, 10)
LAYERS = (*(f"conv{k}" for k in range(1, 9)), "network")


def progress(layers: tuple[str, ...] = LAYERS) -> Progress:
    inner, generator = len(layers) - 1, torch.Generator().manual_seed(0)

    def own(rows: int, first: int) -> torch.Tensor:
        table = torch.full((len(layers), len(EPOCHS)), torch.nan)
        table[first : first + rows] = torch.rand(rows, len(EPOCHS), generator=generator)
        return table

    values = {name: own(inner, 0) for name in ("cka", "dead", "black")}
    values |= {name: own(1, inner) for name in ("accuracy", "train/loss", "val/accuracy")}
    nothing = {name: torch.full_like(rows, torch.nan) for name, rows in values.items()}
    low = nothing | {name: values[name] - 0.05 for name in ("cka", "black", "accuracy")}
    return Progress(EPOCHS, values, low, nothing | {name: rows + 0.1 for name, rows in low.items()})


def explanation(result: Progress, layers: tuple[str, ...] = LAYERS, times: int = 1) -> Explanation:
    empty = torch.zeros(0, dtype=torch.int64)
    faces = Faces(torch.zeros(0, 1, 4, 4, dtype=torch.uint8), empty, empty, empty.to(torch.uint8), ("a", "b"))
    return Explanation(
        result=result,
        faces=faces,
        layers=layers * times,
        targets=("filters",) * len(layers) * times,
        predictions=empty,
        probabilities=torch.zeros(0, 2),
        classes=("a", "b"),
        explainer="training",
        model="vgg8",
        dataset="faces",
        checkpoints=("best",) * len(layers) * times,
    )


def test_the_same_numbers_give_the_same_bytes_and_a_caption_with_numbers(tmp_path: Path):
    visualizer = build_plugin("visualizer", "progress", dpi=60)
    result = progress()
    (one,), (two,) = (visualizer.draw(explanation(result), tmp_path / name) for name in ("one", "two"))
    assert one.path.name == "progress.png"
    assert one.path.read_bytes() == two.path.read_bytes()
    with Image.open(one.path) as picture:
        assert picture.width == 390
    black = 100 * result.values["black"][:8, 0]
    least, most = int(black.argmin()), int(black.argmax())
    assert f"{black[least]:.1f} % (conv{least + 1}) to {black[most]:.1f} % (conv{most + 1}) at epoch 1" in one.caption
    assert f"Validation accuracy: {100 * result.values['val/accuracy'][8, 0]:.1f} % at epoch 1" in one.caption
    assert "Linear CKA to the last epoch" in one.caption


def test_every_number_has_a_panel_and_every_layer_a_line_in_the_order_of_brightness():
    result = progress()
    with plain_style():
        sheet = build_plugin("visualizer", "progress", dpi=100).sheet(result, LAYERS, "title")
    panels = [axes for axes in sheet.axes if axes.get_xlabel() == "epoch"]
    assert len(panels) == 6
    for panel, name in zip(panels, result.values, strict=True):
        factor = 100 if name in ("dead", "black", "accuracy", "val/accuracy") else 1
        rows = [row for row in result.values[name] if row.isfinite().any()]
        assert len(panel.lines) == len(rows)
        for line, row in zip(panel.lines, rows, strict=True):
            np.testing.assert_allclose(np.asarray(line.get_xdata(), float), EPOCHS)
            np.testing.assert_allclose(np.asarray(line.get_ydata(), float), factor * row.numpy(), rtol=1e-6)
            assert panel.get_ylim()[0] <= factor * float(row.min()) <= factor * float(row.max()) <= panel.get_ylim()[1]
    brightness = [np.dot(to_rgb(line.get_color()), (0.2126, 0.7152, 0.0722)) for line in panels[0].lines]
    assert all(np.diff(brightness) < -0.02), "the deeper, the darker"
    assert panels[3].lines[0].get_color() == "black"


def test_numbers_that_no_epoch_has_get_no_panel_and_none_at_all_is_said(tmp_path: Path):
    result = progress()
    result.values["val/accuracy"][:] = torch.nan
    with plain_style():
        sheet = build_plugin("visualizer", "progress").sheet(result, LAYERS, "title")
    assert sum(axes.get_xlabel() == "epoch" for axes in sheet.axes) == 5
    for values in result.values.values():
        values[:] = torch.nan
    with pytest.raises(RunError, match="no number of any epoch is finite"):
        build_plugin("visualizer", "progress").draw(explanation(result), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_training_asked_of_two_of_its_checkpoints_is_drawn_once(tmp_path: Path):
    result = progress()
    twice = Progress(
        EPOCHS,
        *(
            {name: torch.cat([rows, rows]) for name, rows in part.items()}
            for part in (result.values, result.low, result.high)
        ),
    )
    visualizer = build_plugin("visualizer", "progress", dpi=60)
    (one,) = visualizer.draw(explanation(result), tmp_path / "one")
    (two,) = visualizer.draw(explanation(twice, times=2), tmp_path / "two")
    assert one.path.read_bytes() == two.path.read_bytes()


@pytest.mark.parametrize("count", [1, 9, 40])
def test_no_text_leaves_the_sheet_or_covers_another(count: int):
    layers = (*(f"layer4.{k}.conv1" for k in range(count)), "network")
    with plain_style():
        sheet = build_plugin("visualizer", "progress", dpi=100).sheet(progress(layers), layers, "A long title " * 12)
        sheet.canvas.draw()
        width, height = (100 * side for side in sheet.get_size_inches())
        texts = [text for text in sheet.findobj(Text) if isinstance(text, Text) and text.get_text()]
        boxes = [text.get_window_extent() for text in texts]
    for k, box in enumerate(boxes):
        assert box.x0 >= 0, texts[k]
        assert box.x1 <= width, texts[k]
        assert box.y0 >= 0, texts[k]
        assert box.y1 <= height, texts[k]
        for other in range(k):
            over = box.intersection(box, boxes[other])
            assert over is None or min(over.width, over.height) < 1.5, (texts[k].get_text(), texts[other].get_text())


@pytest.mark.parametrize(
    ("knobs", "message"), [({"dpi": 10}, "visualizer.dpi=10"), ({"colormap": "viridi"}, "Did you mean viridis")]
)
def test_wrong_settings_are_refused(knobs: dict, message: str):
    with pytest.raises(ConfigError, match=message):
        build_plugin("visualizer", "progress", **knobs)
