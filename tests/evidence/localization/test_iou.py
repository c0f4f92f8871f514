"""Intersection over union with the threshold of scikit-image."""

from __future__ import annotations

import math

import pytest
import torch
from skimage.filters import threshold_otsu
from support.measures import batch_for, refuse_again

from fervis.core.registry import build_plugin


def test_the_pixels_above_the_threshold_of_otsu_are_compared_with_those_that_matter():
    generator = torch.Generator().manual_seed(0)
    evidence = torch.rand(4, 12, 10, generator=generator) < 0.3
    maps = torch.randint(0, 200, (4, 2, 12, 10), generator=generator) + 60 * evidence[:, None]
    maps = maps.where(maps > 90, -maps)  # negative values mark nothing
    scores = build_plugin("evidence", "iou").measure(batch_for(maps, evidence), maps.float(), refuse_again)[""]
    for n in range(4):
        for t in range(2):
            values = maps[n, t].clamp(min=0)
            marked = values > int(threshold_otsu(values.numpy()))
            expected = (marked & evidence[n]).sum() / (marked | evidence[n]).sum()
            assert float(scores[n, t]) == pytest.approx(expected.item(), abs=1e-7)
            assert 0.1 < float(scores[n, t]) < 0.9


def test_what_degenerate_maps_reach():
    evidence = torch.zeros(4, 4, 4, dtype=torch.bool)
    evidence[:3, :2, :2] = True
    maps = torch.stack([evidence[0].float(), torch.ones(4, 4), torch.zeros(4, 4), torch.ones(4, 4)])[:, None]
    scores = build_plugin("evidence", "iou").measure(batch_for(maps, evidence), maps, refuse_again)[""]
    assert scores[:3, 0].tolist() == [1, 0, 0]
    assert math.isnan(scores[3, 0])


def test_the_threshold_of_a_map_depends_on_no_other_map():
    maps, evidence = torch.rand(5, 1, 8, 8), torch.rand(5, 8, 8) < 0.5
    measure = build_plugin("evidence", "iou")
    together = measure.measure(batch_for(maps, evidence), maps, refuse_again)[""]
    alone = measure.measure(batch_for(maps[2:3], evidence[2:3]), maps[2:3], refuse_again)[""]
    assert torch.equal(together[2:3], alone)
