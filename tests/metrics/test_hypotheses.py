"""Tests of hypotheses: against all signs and permutations written out, SciPy, and the definition of Holm's method."""

from __future__ import annotations

import math
from itertools import combinations, product
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch

from fervis.metrics.hypotheses import DRAWS, Draws, correlation_p, holm, permutation_p, rank_correlation_p, sign_flip_p


def draws() -> Draws:
    return Draws(torch.Generator().manual_seed(0))


def spearman(first: Any, second: Any) -> float:
    result: Any = scipy.stats.spearmanr(first, second)
    return float(result.statistic)


def allowed(p: float) -> float:
    """Five standard deviations of a share of DRAWS draws: a chance of 6e-7."""
    return 5 * math.sqrt(p * (1 - p) / DRAWS) + 1 / DRAWS


def test_random_signs_approach_all_signs():
    values = torch.tensor([0.5, 1.0, -0.2, 0.8, 0.3, -0.6, 0.9, 0.1], dtype=torch.float64)
    signs = torch.tensor(list(product((-1.0, 1.0), repeat=8)), dtype=torch.float64)
    sums = (signs @ values).abs()
    exact = float((sums >= values.sum().abs() - 1e-12).double().mean())
    assert sign_flip_p(values, draws()) == pytest.approx(exact, abs=allowed(exact))


def test_random_permutations_approach_all_choices():
    values = torch.tensor([3.0, 1.0, 4.0, 1.5, 9.0, 2.6, 5.0], dtype=torch.float64)
    own = torch.tensor([True, False, True, False, True, False, False])
    difference = float(values[own].mean() - values[~own].mean())
    all_differences = []
    for chosen in combinations(range(7), 3):
        inside = torch.zeros(7, dtype=torch.bool)
        inside[list(chosen)] = True
        all_differences.append(abs(float(values[inside].mean() - values[~inside].mean())))
    exact = float(np.mean(np.array(all_differences) >= abs(difference) - 1e-12))
    assert permutation_p(values, own, draws()) == pytest.approx(exact, abs=allowed(exact))


def test_a_constant_value_is_as_extreme_under_every_permutation():
    assert permutation_p(torch.ones(6), torch.arange(6) < 3, draws()) == 1
    assert sign_flip_p(torch.zeros(6), draws()) == 1


def test_what_is_missing_is_left_out():
    values = torch.tensor([1.0, math.nan, 2.0, 3.0, 0.5])
    assert sign_flip_p(values, draws()) == sign_flip_p(values[values.isfinite()], draws())
    assert math.isnan(sign_flip_p(torch.tensor([1.0, math.nan]), draws()))
    assert math.isnan(permutation_p(torch.ones(3), torch.tensor([True, True, True]), draws()))


def test_rank_correlation_is_scipys_and_its_p_value_is_exact():
    first, second = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [2.0, 1.0, 4.0, 3.0, 6.5, 5.0]
    correlation, p = rank_correlation_p(first, second)
    assert correlation == pytest.approx(spearman(first, second))
    exact = scipy.stats.permutation_test((first,), lambda some: spearman(some, second), permutation_type="pairings")
    assert p == pytest.approx(float(exact.pvalue))


def test_random_permutations_of_pairs_approach_all_of_them():
    first = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    second = torch.tensor([2.0, 1.0, 4.0, 3.0, 6.5, 5.0])
    correlation, exact = rank_correlation_p(first.tolist(), second.tolist())
    found, p = correlation_p(first, second, draws())
    assert found == pytest.approx(correlation)
    assert p == pytest.approx(exact, abs=allowed(exact))
    assert math.isnan(correlation_p(first, torch.ones(6), draws())[1])


def test_holm_by_its_definition():
    p_values = [0.012, 0.2, 0.004, math.nan, 0.03, 0.9]
    found = holm(p_values)
    known = sorted(value for value in p_values if not math.isnan(value))
    for value, adjusted in zip(p_values, found, strict=True):
        if math.isnan(value):
            assert math.isnan(adjusted)
            continue
        steps = [min(1, (len(known) - rank) * known[rank]) for rank in range(known.index(value) + 1)]
        assert adjusted == pytest.approx(max(steps))
