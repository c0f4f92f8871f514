"""A study that draws the agreement of its methods: its numbers are those of the run folders' maps."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

import fervis
from fervis.core import registry
from fervis.reporting.run_files import read_config

PRESET = """# a small comparison
parts:
  - {title: Agreement, draw: agreement, dpi: 60}
  - each: {explainer: [saliency layer=input, input_x_gradient, edge_map]}
    ask: [dataset=hand_set, model=hand_set, checkpoint=initial, faces=all, target=positive,
          visualizer.max_single=0, visualizer.dpi=50]
"""


def test_a_study_measures_and_draws_agreement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    presets = tmp_path / "presets"
    presets.mkdir()
    (presets / "agree.yaml").write_text(PRESET)
    monkeypatch.setattr(registry, "EXPERIMENTS_FOLDER", presets)
    folder = fervis.ask(["experiment=agree", f"outputs={tmp_path}/out", "quiet=true"])
    maps = {}
    for answer in (tmp_path / "out" / "runs").iterdir():
        if (answer / "config.yaml").is_file() and answer.name != folder.name:
            with np.load(answer / "arrays.npz") as arrays:
                maps[read_config(answer)[1]["explainer"]["name"]] = arrays["maps"]
    numbers = json.loads((folder / "summary.json").read_text())["numbers"]
    for one, other in (("saliency", "edge_map"), ("saliency", "input_x_gradient")):
        expected = [
            float(np.asarray(spearmanr(np.abs(first).ravel(), np.abs(second).ravel()))[0])
            for first, second in zip(maps[one], maps[other], strict=True)
        ]
        assert numbers[f"rank_correlation/{one}/{other}"] == pytest.approx(np.nanmean(expected), abs=1e-6)
    assert (folder / "figures" / "agreement.png").is_file()
    assert "saliency and edge_map" in (folder / "report.html").read_text()
