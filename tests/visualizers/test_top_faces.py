"""Sheets of strongest faces: every face is there with its box and its number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure as Sheet
from PIL import Image

from fervis.core.faces import FER2013_CLASSES, Faces
from fervis.core.registry import build_plugin
from fervis.core.results import Explanation, TopActivations
from fervis.errors import ConfigError
from fervis.visualizers import top_faces
from fervis.visualizers.top_faces import TopFacesSheet


def explained(
    filters: int = 3,
    top: int = 4,
    *,
    layers: tuple[str, ...] = ("conv7",),
    checkpoints: tuple[str, ...] = ("best",),
    **of: Any,
) -> Explanation:
    generator = torch.Generator().manual_seed(0)
    entries = [(c, layer, one) for c in checkpoints for layer in layers for one in range(filters)]
    n, size = len(entries), of.get("size", (48, 48))
    boxes = torch.tensor([4, 6, 40, 44]).expand(n, top, 4).clone()
    if of.get("whole"):
        boxes[:] = torch.tensor([0, 0, *size])
    none = torch.zeros(0, dtype=torch.int64)
    labels = (
        torch.randint(0, 7, (n, top), generator=generator) if of.get("labelled", True) else torch.full((n, top), -1)
    )
    return Explanation(
        result=TopActivations(
            rows=torch.randint(0, 99999, (n, top), generator=generator),
            labels=labels,
            values=torch.rand(n, top, generator=generator).sort(descending=True).values * 10 ** of.get("power", 0),
            boxes=boxes,
            cores=torch.tensor([12, 16, 24, 32]).expand(n, top, 4),
            images=torch.randint(
                0, 256, (n, top, of.get("channels", 1), *size), generator=generator, dtype=torch.uint8
            ),
            dead=torch.rand(n, generator=generator),
        ),
        faces=Faces(torch.zeros(0, 1, 48, 48, dtype=torch.uint8), none, none, none.to(torch.uint8), FER2013_CLASSES),
        layers=tuple(layer for _, layer, _ in entries),
        targets=tuple(f"{layer}/{one}" for _, layer, one in entries),
        predictions=none,
        probabilities=torch.zeros(0, 7),
        classes=FER2013_CLASSES,
        explainer="top_faces",
        model="vgg8",
        dataset="faces",
        checkpoints=tuple(c for c, _, _ in entries),
    )


def test_every_face_is_drawn_pixel_for_pixel(tmp_path: Path):
    explanation = explained(2, 9)
    (figure,) = TopFacesSheet(marks=False).draw(explanation, tmp_path)
    assert figure.path.name == "conv7.png"
    picture = np.asarray(Image.open(figure.path).convert("RGB"))
    pitch = (6.5 - 0.04 - 0.85) / 9
    side = pitch - 0.06
    middles = (np.arange(48) + 0.5) / 48 * side
    for entry in range(2):
        for place in range(9):
            x, y = 0.04 + 0.85 + place * pitch, 0.36 + entry * (side + 0.16)
            seen = picture[np.ix_(((y + middles) * 300).astype(int), ((x + middles) * 300).astype(int))]
            face = explanation.result.images[entry, place, 0].numpy()
            # The drawn pixel is 3.4 dots wide, so a neighbour may lie under its middle.
            assert (seen[..., 0] == face).mean() > 0.97


def test_the_box_is_around_the_pixels_where_the_output_looks(tmp_path: Path):
    explanation = explained(1, 1, whole=True)
    object.__setattr__(explanation.result, "images", torch.full((1, 1, 1, 48, 48), 128, dtype=torch.uint8))
    (figure,) = TopFacesSheet().draw(explanation, tmp_path)
    picture = np.asarray(Image.open(figure.path).convert("RGB")).astype(int)
    amber = (np.abs(picture - np.array([0xFF, 0xB0, 0x00])).max(-1) < 60).nonzero()
    side = (6.5 - 0.04 - 0.85) / 9 - 0.06
    top, left, bottom, right = (
        0.36 + 12 / 48 * side,
        0.89 + 16 / 48 * side,
        0.36 + 24 / 48 * side,
        0.89 + 32 / 48 * side,
    )
    found = np.array([amber[0].min(), amber[1].min(), amber[0].max() + 1, amber[1].max() + 1]) / 300
    np.testing.assert_allclose(found, [top, left, bottom, right], atol=0.01)
    assert "its receptive field is the whole face" in TopFacesSheet()._note(explanation.result, [0])


def test_many_filters_fill_several_sheets_and_layers_have_their_own(tmp_path: Path):
    figures = TopFacesSheet(dpi=40).draw(explained(17, 2, layers=("conv1", "conv2")), tmp_path)
    names = ["conv1_1.png", "conv1_2.png", "conv2_1.png", "conv2_2.png"]
    assert [figure.path.name for figure in figures] == names
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert "conv1/16: " in figures[1].caption
    assert "conv1/15: " in figures[0].caption


def test_checkpoints_of_a_filter_stand_together(tmp_path: Path):
    explanation = explained(9, 2, checkpoints=("best", "1"))
    first, second = TopFacesSheet(dpi=40).draw(explanation, tmp_path)
    assert "conv7/7 at checkpoint best: " in first.caption
    assert "conv7/7 at checkpoint 1: " in first.caption
    assert second.caption.count("conv7/8 at checkpoint ") == 2


def test_caption_says_the_strongest_face_and_the_commonest_label(tmp_path: Path):
    explanation = explained(1, 3)
    object.__setattr__(explanation.result, "labels", torch.tensor([[3, 0, 3]]))
    (figure,) = TopFacesSheet(dpi=40).draw(explanation, tmp_path)
    value, row = explanation.result.values[0, 0], int(explanation.result.rows[0, 0])
    assert figure.caption == (
        "The 3 faces of faces that excite each filter of conv7 of vgg8 most, the strongest first, with the region of "
        f"the highest output. conv7/0: {float(value):.3g} at face {row}, 2 of 3 happy."
    )


@pytest.mark.parametrize(
    "of",
    [
        {"filters": 16, "top": 9, "power": 3},
        {"filters": 2, "top": 1, "labelled": False, "whole": True},
        {"filters": 5, "top": 20, "channels": 3, "checkpoints": ("best", "1")},
        {"filters": 3, "top": 3, "layers": ("stages.1.blocks.0.conv1",), "size": (48, 30), "power": -5},
    ],
)
def test_texts_stay_on_the_sheet_and_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of: dict[str, Any]):
    sheets: list[Sheet] = []
    monkeypatch.setattr(top_faces.canvas, "save_figure", lambda sheet, *_: sheets.append(sheet))
    TopFacesSheet(dpi=100).draw(explained(**of), tmp_path)
    assert sheets
    for sheet in sheets:
        width, height = sheet.get_size_inches() * 100
        texts = [text for text in sheet.texts if text.get_text()]
        boxes = [text.get_window_extent() for text in texts]
        for text, box in zip(texts, boxes, strict=True):
            inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1
            assert inside, text.get_text()
        for i, one in enumerate(boxes):
            for j, other in enumerate(boxes[:i]):
                across = min(one.x1, other.x1) - max(one.x0, other.x0)
                down = min(one.y1, other.y1) - max(one.y0, other.y0)
                assert across <= 1 or down <= 2, (texts[i].get_text(), texts[j].get_text())


def test_same_bytes_twice(tmp_path: Path):
    first, second = (TopFacesSheet(dpi=60).draw(explained(), tmp_path / name)[0].path for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()


def test_wrong_settings():
    with pytest.raises(ConfigError, match=r"visualizer.dpi=3: expected a whole number from 30 to 1200"):
        build_plugin("visualizer", "top_faces", dpi=3)
