"""Mean maps of classes against literal means, and one small study as a whole."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import fervis
from fervis.core import registry
from fervis.metrics.map_means import class_means, magnitude_shares

PRESET = """# mean maps of two methods
parts:
  - {title: Mean maps, draw: mean_maps, dpi: 60}
  - each: {explainer: [saliency layer=input, edge_map]}
    ask: [dataset=synthetic, dataset.per_class_train=1, dataset.per_class_val=1, dataset.per_class_test=2, model=vgg8,
          model.width=4, checkpoint=initial, split=test, faces=all, target=label, visualizer.overview=false,
          visualizer.max_single=0]
"""


def test_each_map_counts_by_its_shares(generator: torch.Generator):
    maps = torch.randn(5, 3, 4, generator=generator)
    maps[3] = 0  # marks nothing, and does not count
    labels = torch.tensor([0, 2, 0, 0, 2])
    expected = []
    for number in range(3):
        magnitudes = [np.abs(one) for one, label in zip(maps.double().numpy(), labels, strict=True) if label == number]
        shares = [some / some.sum() for some in magnitudes if some.any()]
        expected.append(np.mean(shares, axis=0) if shares else np.zeros((3, 4)))
    torch.testing.assert_close(
        class_means(magnitude_shares(maps), labels, torch.arange(3)).nan_to_num(), torch.from_numpy(np.stack(expected))
    )


def test_a_study_of_mean_maps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "small.yaml").write_text(PRESET)
    monkeypatch.setattr(registry, "EXPERIMENTS_FOLDER", tmp_path)
    answer = fervis.ask(["experiment=small", f"outputs={tmp_path}/out"])
    summary = json.loads((answer / "summary.json").read_text(encoding="utf-8"))
    assert [(entry["method"], entry["class"]) for entry in summary["entries"][:2]] == [
        ("saliency", "angry"),
        ("saliency", "disgust"),
    ]
    assert {entry["images"] for entry in summary["entries"]} == {2}
    with Image.open(answer / "figures" / "mean_maps.png") as sheet:
        assert sheet.width == pytest.approx(6.5 * 60, abs=1)
