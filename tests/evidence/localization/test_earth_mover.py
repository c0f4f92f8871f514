"""The earth mover's score against a dense linear programme over all pairs of pixels, and against closed forms."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from torch import Tensor, nn

from fervis.core.faces import Truth
from fervis.core.registry import build_plugin
from fervis.core.targets import class_targets
from fervis.models.batch import Batch


def scored(maps: Tensor, evidence: Tensor, **knobs: int) -> list[float]:
    count = len(maps)
    truth = Truth(evidence, evidence.to(torch.uint8), ("", ""), torch.zeros(count, 0), ())
    batch = Batch(nn.Identity(), torch.zeros(count, 1, *maps.shape[2:]), (), class_targets([0] * count), truth=truth)
    return build_plugin("evidence", "earth_mover", **knobs).measure(batch, maps, None)[""][:, 0].tolist()


def test_it_is_the_optimum_of_the_full_transport():
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(3, 1, 5, 5, generator=generator)
    evidence = torch.rand(3, 5, 5, generator=generator) < 0.3
    pixels = list(itertools.product(range(5), range(5)))
    costs = np.array([[math.dist(one, two) for two in pixels] for one in pixels])
    sources, sinks = np.kron(np.eye(25), np.ones(25)), np.kron(np.ones(25), np.eye(25))
    expected = []
    for attribution, mask in zip(maps.double().abs().flatten(1).numpy(), evidence.flatten(1).numpy(), strict=True):
        amounts = np.concatenate([attribution / attribution.sum(), mask / mask.sum()])
        solved = linprog(costs.ravel(), A_eq=np.vstack([sources, sinks])[:-1], b_eq=amounts[:-1], method="highs")
        expected.append(1 - solved.fun / math.sqrt(50))
    assert scored(maps, evidence) == pytest.approx(expected, abs=1e-9)


def test_the_truth_scores_1_and_one_pixel_scores_by_its_distance():
    evidence = torch.zeros(3, 8, 8, dtype=torch.bool)
    evidence[:, 2, 3] = True
    maps = torch.zeros(3, 1, 8, 8)
    maps[0, 0, 2, 3], maps[1, 0, 6, 6] = 2.0, -0.5
    scores = scored(maps, evidence)
    assert scores[:2] == pytest.approx([1, 1 - 5 / math.sqrt(128)])
    assert math.isnan(scores[2])


def test_large_maps_are_added_up_in_cells():
    evidence = torch.zeros(1, 12, 12, dtype=torch.bool)
    evidence[0, :4, :4] = True
    maps = torch.zeros(1, 1, 12, 12)
    maps[0, 0, 8:, 8:] = 1
    assert scored(maps, evidence, cells=3) == pytest.approx([1 - math.hypot(8, 8) / math.sqrt(288)])
    assert scored(maps, evidence, cells=12) == pytest.approx([1 - math.hypot(8, 8) / math.sqrt(288)])
