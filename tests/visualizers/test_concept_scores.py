"""Bars of concepts: every class has its panel, and what is significant is not pale."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from fervis.core.faces import FER2013_CLASSES, Faces
from fervis.core.registry import build_plugin, visualizer_for
from fervis.core.results import ConceptScores, Explanation
from fervis.visualizers.concept_scores import ConceptScoresSheet


def explained(p_value: float, classes: tuple[str, ...] = ("angry", "happy"), concepts: int = 2) -> Explanation:
    scores = torch.full((concepts, 5, len(classes)), 0.8)
    none = torch.zeros(0, dtype=torch.int64)
    means = scores.mean(1)
    return Explanation(
        result=ConceptScores(
            scores=scores,
            random=scores - 0.3,
            means=means,
            low=means - 0.1,
            high=means + 0.1,
            p_values=torch.full_like(means, p_value),
            accuracy=torch.full((concepts,), 0.9),
            cosine=torch.full((concepts,), 0.5),
            classes=classes,
        ),
        faces=Faces(torch.zeros(0, 1, 48, 48, dtype=torch.uint8), none, none, none.to(torch.uint8), FER2013_CLASSES),
        layers=("conv7",) * concepts,
        targets=tuple(f"AU{number}" for number in range(concepts)),
        predictions=none,
        probabilities=torch.zeros(0, len(classes)),
        classes=classes,
        explainer="tcav",
        model="vgg8",
        dataset="synthetic",
        checkpoints=("best",) * concepts,
    )


def blue(path: Path) -> int:
    """Number of pixels in the full colour of bars."""
    picture = np.asarray(Image.open(path).convert("RGB")).astype(int)
    return int((np.abs(picture - (0, 0x44, 0x88)).sum(2) < 12).sum())


def test_significant_bars_are_in_full_colour_and_named(tmp_path: Path):
    visualizer = build_plugin("visualizer", visualizer_for("concept_scores"), dpi=100)
    assert isinstance(visualizer, ConceptScoresSheet)
    (clear,) = visualizer.draw(explained(0.01), tmp_path / "a")
    (pale,) = visualizer.draw(explained(0.2), tmp_path / "b")
    assert clear.path.name == "conv7.png"
    assert "AU0 for angry 0.80, AU0 for happy 0.80, AU1 for angry 0.80" in clear.caption
    assert "None differs significantly" in pale.caption
    assert blue(clear.path) > 1000
    assert blue(pale.path) == 0


def test_many_classes_fill_several_lines_of_panels(tmp_path: Path):
    one, two = (
        ConceptScoresSheet(dpi=60).draw(explained(0.01, tuple(map(str, range(count)))), tmp_path / str(count))
        for count in (7, 15)
    )
    heights = []
    for (figure,) in (one, two):
        with Image.open(figure.path) as picture:
            heights.append(picture.height)
    assert heights[1] > heights[0] * 1.8
