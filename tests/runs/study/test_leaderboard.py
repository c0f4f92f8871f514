"""The leaderboard of a study: ranks, intervals and agreement from hand-made scores, and one small study as a whole."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

import fervis
from fervis.core import registry
from fervis.errors import ConfigError
from fervis.runs.study.leaderboard import ScoredPart, rank_methods
from fervis.runs.study.parts import study_parts

PRESET = """# a small leaderboard
parts:
  - {title: Methods, draw: leaderboard, dpi: 60}
  - each: {dataset.case: [additive model.case=additive], explainer: [input_x_gradient, random_map, everything_map]}
    ask: [dataset=hand_set, model=hand_set, checkpoint=initial, faces=all, target=positive,
          "evidence=[true_attribution,precision]", visualizer.max_single=0, visualizer.overview=false]
"""


def part(method: str, seed: int, values: list[float]) -> ScoredPart:
    scores = {"m": torch.tensor(values), "m/detail": torch.tensor(values), "n": -torch.tensor(values)}
    better = {"m": "higher", "n": "lower", "d": "neither"}
    return ScoredPart(method, f"{{'seed': {seed}, 'dataset': 1}}", torch.arange(len(values)), scores, better, 0.5)


def test_methods_are_ranked_by_means_over_images_and_seeds():
    parts = [part("a", 0, [1.0, 2.0, 3.0]), part("b", 0, [4.0, 5.0, math.nan]), part("c", 0, [0.0, 0.0, 0.0])]
    parts += [part("a", 1, [3.0, 4.0, 5.0]), part("b", 1, [0.0, 1.0, math.nan]), part("c", 1, [0.0, 0.0, -1.0])]
    board = rank_methods(parts, seed=0)
    assert board.methods == ["a", "b", "c"]
    assert board.ranking == ["m", "n"]
    assert board.mean_rank == {"a": 1, "b": 2, "c": 3}
    assert board.scores["m"]["a"].value == pytest.approx(3)
    assert board.scores["m"]["b"].value == pytest.approx(2.5)
    assert board.scores["m"]["a"].low == pytest.approx(2)
    assert board.scores["m"]["a"].high == pytest.approx(4)
    assert board.between_settings["m"] == pytest.approx(1 / 3)  # of three pairs, a and b change places
    assert board.between_measures == {("m", "n"): pytest.approx(1)}


def test_each_stands_for_all_combinations():
    listed = {"each": {"seed": [0, 1], "explainer": ["saliency layer=input", "lrp"]}, "ask": ["model=vgg8"]}
    parts = study_parts([listed])
    assert [one.ask for one in parts] == [
        ("model=vgg8", "seed=0", "explainer=saliency", "layer=input"),
        ("model=vgg8", "seed=0", "explainer=lrp"),
        ("model=vgg8", "seed=1", "explainer=saliency", "layer=input"),
        ("model=vgg8", "seed=1", "explainer=lrp"),
    ]
    with pytest.raises(ConfigError, match="part 1 has each, title; expected each, ask"):
        study_parts([{"each": {}, "title": "a"}])


def test_a_study_has_its_leaderboard_as_figure_table_and_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "small.yaml").write_text(PRESET)
    monkeypatch.setattr(registry, "EXPERIMENTS_FOLDER", tmp_path)
    folder = fervis.ask(["experiment=small", f"outputs={tmp_path}/out"])
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["entries"][0]["method"] == "input_x_gradient"
    assert summary["numbers"]["everything_map/precision"] == pytest.approx(8 / 64)
    assert (folder / "figures" / "leaderboard.png").is_file()
    assert "everything_map" in (folder / "report.html").read_text()
