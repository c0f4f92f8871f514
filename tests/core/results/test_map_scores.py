"""Scores of maps: a dictionary that prints in few lines and gives a table."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
import torch

from fervis.core.results import MapScores


def test_scores_print_their_means_and_ranges():
    scores = MapScores(road=torch.tensor([1.0, 3.0, float("nan")]), iou=torch.full((3,), float("nan")))
    assert repr(scores).splitlines() == [
        "Scores of 3 images",
        "  road: mean 2, 1 to 3 (1 without one)",
        "  iou: none",
    ]
    assert repr(MapScores(road=torch.zeros(1, 4))).startswith("Scores of 1 image and 4 targets\n")
    assert repr(MapScores()) == "Scores of 0 images"
    assert dict(scores).keys() == scores.keys()


def test_a_table_has_a_row_per_image_and_target(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=dict))
    table = MapScores(road=torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])).to_dataframe()
    assert {name: values.tolist() for name, values in table.items()} == {
        "image": [0, 0, 1, 1, 2, 2],
        "target": [0, 1, 0, 1, 0, 1],
        "road": [1, 2, 3, 4, 5, 6],
    }
    flat = MapScores(road=torch.tensor([1.0, 2.0])).to_dataframe()
    assert {name: values.tolist() for name, values in flat.items()} == {"image": [0, 1], "road": [1, 2]}
    assert MapScores().to_dataframe() == {}
