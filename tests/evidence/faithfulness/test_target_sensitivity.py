"""Target sensitivity against a literal version, pair by pair, and of maps that know or swap their classes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from fervis.evidence.faithfulness.target_sensitivity import target_sensitivity


def literal(shares: list[list[float]], drops: list[list[float]], has: list[int], target: int) -> float:
    answers = []
    for other in range(len(drops)):
        beyond = {part: drops[target][part] - drops[other][part] for part in has}
        own, others = max(has, key=lambda part: beyond[part]), min(has, key=lambda part: beyond[part])
        if beyond[own] > 0 > beyond[others]:
            answers += [shares[target][own] > shares[other][own], shares[other][others] > shares[target][others]]
    return sum(answers) / len(answers) if answers else math.nan


def made_up(count: int = 40) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    mass = torch.rand(count, 3, 4, generator=generator, dtype=torch.float64)
    active = torch.rand(count, 4, generator=generator) < 0.7
    active[:, 1] = True
    return mass, 1.3 * mass.sum(2), torch.randn(count, 3, 4, generator=generator, dtype=torch.float64), active


def test_each_score_is_that_of_a_literal_version():
    mass, whole, drops, active = made_up()
    found = target_sensitivity(mass, whole, drops, active)
    shares = mass / whole[..., None]
    expected = [
        [
            literal(shares[number].tolist(), drops[number].tolist(), active[number].nonzero()[:, 0].tolist(), target)
            for target in range(3)
        ]
        for number in range(len(mass))
    ]
    assert any(math.isnan(value) for row in expected for value in row)
    assert found.tolist() == [pytest.approx(row, abs=1e-12, nan_ok=True) for row in expected]


def test_maps_that_follow_the_drops_score_one_and_one_map_for_all_classes_zero():
    _, _, drops, active = made_up()
    mass = drops - drops.min() + 1
    even = mass.new_ones(mass.shape[:2])  # so that shares are the masses
    known = target_sensitivity(mass, even, drops, active)
    assert known[known.isfinite()].unique().tolist() == [1.0]
    same = target_sensitivity(mass[:, :1].expand_as(mass), even, drops, active)
    assert same[same.isfinite()].unique().tolist() == [0.0]
