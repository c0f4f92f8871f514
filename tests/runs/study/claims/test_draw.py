"""The verdicts of one small study as a whole, on drawn faces and a network with its initial weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import fervis
from fervis.core import registry
from fervis.runs.study.claims.cases import MEAN_MAP, read_cases

PRESET = """# a few verdicts
parts:
  - {title: Verdicts, draw: verdicts, dpi: 60}
  - each:
      explainer: [everything_map evidence.region_shares.patches=2, saliency layer=input, edge_map]
    ask: [dataset=synthetic, dataset.per_class_train=1, dataset.per_class_val=1, dataset.per_class_test=4,
          model=vgg8, model.width=4, checkpoint=initial, split=test, faces=all, target=label,
          "evidence=[region_shares]", evidence.region_shares.patches=0, visualizer.max_single=0, visualizer.dpi=50]
  - title: Layers
    ask: [explainer=feature_maps, "layer=[conv1,conv2,conv3]", dataset=synthetic, dataset.per_class_train=1,
          dataset.per_class_val=1, dataset.per_class_test=4, model=vgg8, model.width=4, checkpoint=initial, split=test,
          "faces=per_class:1"]
    figures: {}
"""


def test_a_study_with_verdicts_and_what_they_rest_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "small.yaml").write_text(PRESET)
    monkeypatch.setattr(registry, "EXPERIMENTS_FOLDER", tmp_path)
    answer = fervis.ask(["experiment=small", f"outputs={tmp_path}/out"])
    summary = json.loads((answer / "summary.json").read_text(encoding="utf-8"))
    assert (answer / "figures" / "verdicts.png").exists()
    by_text = {entry["statement"]: entry for entry in summary["entries"]}
    assert by_text["the deeper the layer, the less sharp its outputs"]["verdict"] in {
        "supported",
        "contrary",
        "not shown",
    }
    assert by_text["the textures are regular"]["verdict"] == "not tested"
    answers = [tmp_path / "out" / "runs" / section["run"] for section in summary["sections"]]
    maps, numbers = read_cases(answers)
    assert {(case.method, case.control) for case in maps} >= {("edge_map", "edge_map"), ("saliency", "random weights")}
    assert all(case.control != MEAN_MAP for case in maps)  # there is no network that is no control
    assert [case.explainer for case in numbers] == ["feature_maps"]
    saliency = next(case for case in maps if case.method == "saliency")
    with np.load(answers[1] / "arrays.npz") as arrays:
        assert torch.equal(
            saliency.shares["mouth"], torch.from_numpy(arrays["scores/region_shares/mouth/share"]).double()
        )
    with np.load(answers[0] / "arrays.npz") as arrays:
        drop, random = (arrays[f"scores/region_shares/mouth/{name}"].astype("float64") for name in ("drop", "random"))
    assert torch.equal(saliency.gains["mouth"], torch.from_numpy(drop - random))
