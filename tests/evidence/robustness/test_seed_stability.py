"""Seed stability against the correlations of all pairs, one by one."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from support.measures import batch_for
from torch import Tensor, nn

from fervis.core.registry import build_plugin


def test_it_is_the_mean_over_all_pairs_of_seeds():
    signal = torch.rand(2, 2, 6, 7, generator=torch.Generator().manual_seed(0))
    drawn: dict[int | None, Tensor] = {}

    def again(images: Tensor | None = None, model: nn.Module | None = None, *, seed: int | None = None) -> Tensor:
        noise = torch.rand(signal.shape, generator=torch.Generator().manual_seed(seed or 0))
        drawn[seed] = ((signal + noise) * 8).round()  # with equal values
        return drawn[seed]

    maps = again()
    scores = build_plugin("evidence", "seed_stability", seeds=4).measure(batch_for(maps), maps, again)[""]
    assert len(drawn) == 4
    for n, t in np.ndindex(2, 2):
        pairs = combinations([one[n, t].flatten().numpy() for one in drawn.values()], 2)
        expected = np.mean([spearmanr(*pair).statistic for pair in pairs])
        assert float(scores[n, t]) == pytest.approx(expected, abs=1e-12)
        assert 0.2 < expected < 0.8


def test_a_method_without_draws_reaches_one_after_one_more_map():
    maps = torch.rand(2, 1, 5, 5)
    maps[1] = 0.5
    asked = []

    def again(images: Tensor | None = None, model: nn.Module | None = None, *, seed: int | None = None) -> Tensor:
        asked.append(seed)
        return maps.clone()

    scores = build_plugin("evidence", "seed_stability", seeds=9).measure(batch_for(maps), maps, again)[""]
    assert len(asked) == 1
    assert float(scores[0, 0]) == pytest.approx(1)
    assert scores[1].isnan().all()  # a constant map has no order
