"""Agreement of two methods' maps against a literal version, and SciPy's rank correlation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor

from fervis.metrics.map_agreement import AGREEMENTS, pair_agreement


def literal(one: Tensor, other: Tensor, count: int) -> dict[str, float]:
    """Krishna et al. 2022, equations of section 3, by lists and sets; all values differ."""
    values = [list(map(float, maps.flatten())) for maps in (one, other)]
    tops = [sorted(range(len(of)), key=lambda pixel, of=of: -abs(of[pixel]))[:count] for of in values]
    both = set(tops[0]) & set(tops[1])
    return {
        "feature_agreement": len(both) / count,
        "sign_agreement": sum((values[0][p] > 0) == (values[1][p] > 0) for p in both) / count,
        "rank_agreement": sum(tops[0].index(p) == tops[1].index(p) for p in both) / count,
        "rank_correlation": float(np.asarray(spearmanr(*np.abs(values)))[0]),
    }


@pytest.mark.parametrize(("share", "count"), [(0.1, 10), (0.003, 1), (1.0, 99)])
def test_it_is_the_literal_version(share: float, count: int):
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(4, 9, 11, generator=generator)
    second = first + torch.randn(4, 9, 11, generator=generator)
    second[0] = first[0] * 1.01
    found = pair_agreement(first, second, share)
    assert set(found) == set(AGREEMENTS)
    for number in range(4):
        for name, value in literal(first[number], second[number], count).items():
            assert float(found[name][number]) == pytest.approx(value, abs=1e-12), name


def test_opposite_maps_agree_about_pixels_and_not_about_signs():
    maps = torch.randn(2, 5, 5, generator=torch.Generator().manual_seed(1))
    found = {name: values.tolist() for name, values in pair_agreement(maps, -maps).items()}
    assert found["rank_correlation"] == pytest.approx([1, 1])
    assert found["feature_agreement"] == found["rank_agreement"] == [1, 1]
    assert found["sign_agreement"] == [0, 0]


def test_a_map_of_one_magnitude_has_no_order_and_random_maps_share_what_chance_gives():
    generator = torch.Generator().manual_seed(2)
    random, others = (torch.randn(400, 20, 20, generator=generator) for _ in range(2))
    assert all(math.isnan(values[0]) for values in pair_agreement(torch.ones(1, 20, 20), random[:1]).values())
    shared = pair_agreement(random, others, 0.1)["feature_agreement"]
    # Hypergeometric, of 40 among 400 pixels: the mean is 40 / 10, the variance 40 x 0.1 x 0.9 x 360 / 399.
    error = math.sqrt(40 * 0.1 * 0.9 * 360 / 399 / 400) / 40
    assert float(shared.mean()) == pytest.approx(0.1, abs=4 * error)
