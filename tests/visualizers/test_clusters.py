"""Sheets of clusters: the mean map and the examples are drawn, and the caption names every cluster."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from fervis.core.faces import FER2013_CLASSES, Faces
from fervis.core.registry import build_plugin, visualizer_for
from fervis.core.results import Explanation, ExplanationClusters
from fervis.visualizers.clusters import ClustersSheet


def explained(clusters: int = 2, examples: int = 3, signed: bool = True) -> Explanation:
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(clusters, examples, 48, 48, generator=generator) - 0.5 * signed
    none = torch.zeros(0, dtype=torch.int64)
    rows = torch.arange(clusters * examples).view(clusters, examples)
    return Explanation(
        result=ExplanationClusters(
            size=torch.arange(clusters) + 5,
            share=torch.full((clusters,), 0.5),
            accuracy=torch.tensor([0.25] + [float("nan")] * (clusters - 1)),
            mean_maps=maps.mean(1),
            rows=rows,
            images=torch.randint(0, 256, (clusters, examples, 1, 48, 48), generator=generator, dtype=torch.uint8),
            maps=maps,
            eigenvalues=torch.rand(clusters, 9, generator=generator),
            gap=torch.full((clusters,), 0.3),
            members=tuple(rows),
        ),
        faces=Faces(torch.zeros(0, 1, 48, 48, dtype=torch.uint8), none, none, none.to(torch.uint8), FER2013_CLASSES),
        layers=("input",) * clusters,
        targets=tuple(f"happy/{number + 1}" for number in range(clusters)),
        predictions=none,
        probabilities=torch.zeros(0, 7),
        classes=FER2013_CLASSES,
        explainer="clusters",
        model="vgg8",
        dataset="synthetic",
        checkpoints=("best",) * clusters,
    )


def test_a_row_shows_the_examples_and_their_numbers(tmp_path: Path):
    explanation = explained()
    visualizer = build_plugin("visualizer", visualizer_for("clusters"), dpi=240)
    assert isinstance(visualizer, ClustersSheet)
    (figure,) = visualizer.draw(explanation, tmp_path)
    assert figure.path.name == "input.png"
    assert "happy/1: 5 faces (50 %, 25 % predicted right); happy/2: 6 faces (50 %)." in figure.caption
    with Image.open(figure.path) as opened:
        picture = np.asarray(opened.convert("L")).astype(int)
    left = 0.04 + 0.95 + (0.62 + 0.06) + 0.06
    for at in range(4, 44, 5):
        dot = int((left + 0.62 * (at + 0.5) / 48) * 240), int((0.44 + 0.62 * (at + 0.5) / 48) * 240)
        assert abs(picture[dot[1], dot[0]] - int(explanation.result.images[0, 0, 0, at, at])) <= 2


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as opened:
        return np.asarray(opened.convert("RGB"))


def test_magnitudes_have_another_colour_map_and_many_clusters_several_sheets(tmp_path: Path):
    figures = ClustersSheet(dpi=60).draw(explained(7, signed=False), tmp_path)
    assert [figure.path.stem for figure in figures] == ["input_1", "input_2"]
    (signed,) = ClustersSheet(dpi=60).draw(explained(), tmp_path / "b")
    one, two = (pixels(path) for path in (figures[1].path, signed.path))
    heat = (one[..., 0].astype(int) > 200) & (one[..., 2] < 60)  # inferno's orange, which cividis has not
    assert heat.any()
    assert not ((two[..., 0].astype(int) > 200) & (two[..., 2] < 30)).any()
