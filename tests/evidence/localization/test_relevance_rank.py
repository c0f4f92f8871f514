"""Relevance rank against a literal count, with equal values as the mean over orders of them."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from support.measures import batch_for, refuse_again

from fervis.core.registry import build_plugin


def test_it_counts_the_k_highest_pixels_among_the_k_that_matter():
    generator = torch.Generator().manual_seed(0)
    maps, evidence = torch.rand(4, 2, 7, 5, generator=generator), torch.rand(4, 7, 5, generator=generator) < 0.4
    scores = build_plugin("evidence", "relevance_rank").measure(batch_for(maps, evidence), maps, refuse_again)[""]
    for n, t in itertools.product(range(4), range(2)):
        mask = evidence[n].flatten()
        highest = maps[n, t].flatten().argsort(descending=True)[: int(mask.sum())]
        assert float(scores[n, t]) == pytest.approx(mask[highest].double().mean().item(), abs=1e-12)


def test_equal_values_count_by_the_mean_over_all_orders_of_them():
    values = torch.tensor([3.0, 1, 1, 1, 0, -2])
    mask = torch.tensor([False, True, False, True, True, False])
    hits = []
    for order in itertools.permutations(range(6)):
        if [max(values[i].item(), 0) for i in order] == sorted(values.clamp(min=0).tolist(), reverse=True):
            hits.append(sum(mask[i].item() for i in order[:3]) / 3)
    maps, evidence = values.reshape(1, 1, 2, 3), mask.reshape(1, 2, 3)
    scores = build_plugin("evidence", "relevance_rank").measure(batch_for(maps, evidence), maps, refuse_again)[""]
    assert float(scores[0, 0]) == pytest.approx(sum(hits) / len(hits), abs=1e-12)


def test_what_degenerate_maps_reach():
    evidence = torch.zeros(4, 4, 4, dtype=torch.bool)
    evidence[:3, :2, :2] = True
    maps = torch.stack([evidence[0].float(), torch.ones(4, 4), -torch.ones(4, 4), torch.ones(4, 4)])[:, None]
    batch = batch_for(maps, evidence)
    scores = build_plugin("evidence", "relevance_rank").measure(batch, maps, refuse_again)[""]
    assert scores[:3, 0].tolist() == [1, 4 / 16, 4 / 16]
    assert math.isnan(scores[3, 0])
    scores = build_plugin("evidence", "relevance_rank", part="absolute").measure(batch, -maps, refuse_again)[""]
    assert scores[0, 0] == 1
