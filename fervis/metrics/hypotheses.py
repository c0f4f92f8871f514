"""Tests of means by random signs and permutations, and Holm's correction for many tests.

Every test is two-sided and returns a p-value that cannot be 0: the observed value counts among the drawn ones
(Phipson and Smyth 2010, doi:10.2202/1544-6115.1585).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import torch
from scipy.stats import rankdata
from torch import Generator, Tensor

DRAWS = 9999
_DRAWS_PER_CHUNK = 1000
_TIE = 1e-12  # relative: values that rounding alone tells apart are equal


def sign_flip_p(values: Tensor, generator: Generator) -> float:
    """Return the p-value of a mean that differs from 0, if values were symmetric around 0; NaN below two values.

    Args:
        values: [n] one per independent unit; NaN are left out.
        generator: of the random signs.
    """
    values = values[values.isfinite()].double()
    if len(values) < 2:
        return float("nan")
    sums = []
    for count in _chunks():
        signs = torch.randint(2, (count, len(values)), generator=generator).double() * 2 - 1
        sums.append(signs @ values)
    return _share_beyond(torch.cat(sums), values.sum())


def permutation_p(values: Tensor, own: Tensor, generator: Generator) -> float:
    """Return the p-value of a difference in means between two groups of units, if membership did not matter.

    Args:
        values: [n] one per independent unit; NaN are left out.
        own: [n] bool, members of the first group.
        generator: of the random permutations.
    """
    known = values.isfinite()
    values, own = values[known].double(), own[known]
    count, members = len(values), int(own.sum())
    if not 0 < members < count:
        return float("nan")
    weights = torch.where(torch.arange(count) < members, 1 / members, -1 / (count - members)).double()
    differences = []
    for number in _chunks():
        order = torch.rand(number, count, generator=generator).argsort(1)
        differences.append(values[order] @ weights)
    return _share_beyond(torch.cat(differences), values[own].mean() - values[~own].mean())


def correlation_p(first: Tensor, second: Tensor, generator: Generator) -> tuple[float, float]:
    """Return Spearman's correlation of pairs [n] and its p-value over random permutations of one of them."""
    one, two = (torch.from_numpy(rankdata(values.double().numpy())) for values in (first, second))
    one, two = one - one.mean(), two - two.mean()
    scale = (one.square().sum() * two.square().sum()).sqrt()
    if not scale > 0:
        return float("nan"), float("nan")
    drawn = [two[torch.rand(count, len(two), generator=generator).argsort(1)] @ one / scale for count in _chunks()]
    own = one @ two / scale
    return float(own), _share_beyond(torch.cat(drawn), own)


def rank_correlation_p(first: Sequence[float], second: Sequence[float]) -> tuple[float, float]:
    """Return Spearman's correlation of at most nine pairs and its exact p-value over all permutations.

    Example:
        >>> rank_correlation_p([1, 2, 3, 4], [1, 2, 3, 4])
        (1.0, 0.0833...)
    """
    one, two = (torch.from_numpy(rankdata(values)).double() for values in (first, second))
    one, two = one - one.mean(), two - two.mean()
    scale = (one.square().sum() * two.square().sum()).sqrt()
    if scale == 0:
        return float("nan"), float("nan")
    orders = torch.tensor(list(permutations(range(len(two)))))
    correlations = two[orders] @ one / scale
    own = one @ two / scale
    return float(own), float((correlations.abs() >= own.abs() - _TIE).double().mean())


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted so that the chance of any false rejection among them stays below the level (Holm 1979).

    NaN stay NaN and do not count as tests.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    known = sorted((value, position) for position, value in enumerate(p_values) if value == value)
    adjusted, least = [float("nan")] * len(p_values), 0.0
    for rank, (value, position) in enumerate(known):
        least = max(least, min(1.0, value * (len(known) - rank)))
        adjusted[position] = least
    return adjusted


def _chunks() -> list[int]:
    return [min(_DRAWS_PER_CHUNK, DRAWS - start) for start in range(0, DRAWS, _DRAWS_PER_CHUNK)]


def _share_beyond(drawn: Tensor, observed: Tensor) -> float:
    limit = observed.abs() * (1 - _TIE)
    return (int((drawn.abs() >= limit).sum()) + 1) / (len(drawn) + 1)
