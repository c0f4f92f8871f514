"""Relevance mass against its closed form, and what degenerate maps reach."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from support.measures import batch_for, refuse_again

from fervis.core.registry import build_plugin
from fervis.errors import RunError


def test_it_is_the_share_of_the_positive_part_or_of_magnitudes():
    generator = torch.Generator().manual_seed(0)
    maps, evidence = torch.randn(3, 2, 6, 5, generator=generator), torch.rand(3, 6, 5, generator=generator) < 0.3
    batch = batch_for(maps, evidence)
    for part, change in (("positive", lambda values: np.maximum(values, 0)), ("absolute", np.abs)):
        scores = build_plugin("evidence", "relevance_mass", part=part).measure(batch, maps, refuse_again)[""]
        for n, t in np.ndindex(3, 2):
            values, mask = change(maps[n, t].double().numpy()), evidence[n].numpy()
            assert float(scores[n, t]) == pytest.approx(values[mask].sum() / values.sum(), abs=1e-12)


def test_what_degenerate_maps_reach():
    evidence = torch.zeros(4, 4, 4, dtype=torch.bool)
    evidence[:3, :2, :2] = True
    maps = torch.stack([evidence[0].float(), torch.ones(4, 4), -torch.ones(4, 4), torch.ones(4, 4)])[:, None]
    scores = build_plugin("evidence", "relevance_mass").measure(batch_for(maps, evidence), maps, refuse_again)[""]
    assert scores[:3, 0].tolist() == [1, 4 / 16, 0]  # the mask itself, equal values, nothing positive
    assert math.isnan(scores[3, 0])  # no evidence


@pytest.mark.parametrize("name", ["relevance_mass", "relevance_rank", "iou", "auprc", "pointing_game"])
def test_data_that_does_not_know_is_refused(name: str):
    maps = torch.rand(1, 1, 4, 4)
    with pytest.raises(RunError, match=f"evidence={name}: the data set does not know which pixels matter"):
        build_plugin("evidence", name).measure(batch_for(maps), maps, refuse_again)
