"""Sheets of nearest faces: every face and neighbour is there, with the labels' agreement in the caption."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from fervis.core.faces import FER2013_CLASSES, Faces
from fervis.core.registry import build_plugin, visualizer_for
from fervis.core.results import Explanation, NearestFaces
from fervis.visualizers.nearest import NearestFacesSheet


def explained(count: int = 3, k: int = 4, layers: tuple[str, ...] = ("conv7",)) -> Explanation:
    generator = torch.Generator().manual_seed(0)
    n = count * len(layers)
    pixels = torch.randint(0, 256, (n, 1, 48, 48), generator=generator, dtype=torch.uint8)
    zeros = torch.zeros(n, dtype=torch.int64)
    labels = torch.randint(0, 7, (n, k), generator=generator)
    return Explanation(
        result=NearestFaces(
            rows=torch.randint(0, 9999, (n, k), generator=generator),
            labels=labels,
            distances=torch.rand(n, k, generator=generator).sort(1).values,
            images=torch.randint(0, 256, (n, k, 1, 48, 48), generator=generator, dtype=torch.uint8),
            agreement=(labels == 0).float().mean(1),
            predicted=(labels == 1).float().mean(1),
            metric="cosine",
        ),
        faces=Faces(pixels, zeros, torch.arange(n), zeros.to(torch.uint8), FER2013_CLASSES),
        layers=tuple(layer for layer in layers for _ in range(count)),
        targets=(f"{k} nearest",) * n,
        predictions=zeros,
        probabilities=torch.zeros(n, 7),
        classes=FER2013_CLASSES,
        explainer="nearest",
        model="vgg8",
        dataset="faces",
        checkpoints=("best",) * n,
    )


def test_faces_and_neighbours_are_drawn_with_their_pixels(tmp_path: Path):
    explanation = explained()
    visualizer = build_plugin("visualizer", visualizer_for("nearest"), dpi=240)
    assert isinstance(visualizer, NearestFacesSheet)
    (figure,) = visualizer.draw(explanation, tmp_path)
    assert figure.path.name == "conv7.png"
    with Image.open(figure.path) as opened:
        picture = np.asarray(opened.convert("L")).astype(int)
    for images, left in ((explanation.faces.images[0], 0.96), (explanation.result.images[0, 0], 0.96 + 0.76 + 0.12)):
        # In the middle of a face, 3.5 dots a pixel: every other pixel's own value is met at its middle.
        for at in range(4, 44, 5):
            dot = int((left + 0.7 * (at + 0.5) / 48) * 240), int((0.4 + 0.7 * (at + 0.5) / 48) * 240)
            assert abs(picture[dot[1], dot[0]] - int(images[0, at, at])) <= 2
    agreement = 100 * float(explanation.result.agreement.mean())
    assert f"Of the neighbours {agreement:.0f} % have the face's label" in figure.caption
    assert str(explanation.result.rows[2].tolist()) in figure.caption


def test_many_faces_fill_several_sheets_and_missing_neighbours_are_left_out(tmp_path: Path):
    explanation = explained(20, 8, ("conv3", "conv7"))
    explanation.result.rows[:, 5:] = -1
    figures = NearestFacesSheet(dpi=60, max_rows=12).draw(explanation, tmp_path)
    assert [figure.path.stem for figure in figures] == ["conv3_1", "conv3_2", "conv7_1", "conv7_2"]
    explanation.result.labels[:] = -1
    explanation.result.agreement[:] = torch.nan
    (*_, last) = NearestFacesSheet(dpi=60, max_rows=3).draw(explanation, tmp_path / "b")
    assert "have the face's label" not in last.caption
