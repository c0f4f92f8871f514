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
_TIE = 1e-12  # relative: values that rounding alone tells apart are equal


class Draws:
    """Random signs and permutations of n units, drawn once for each n and shared by all tests of as many units.

    Args:
        generator: of all draws.
    """

    def __init__(self, generator: Generator) -> None:
        self.generator = generator
        self._signs: dict[int, Tensor] = {}
        self._orders: dict[int, Tensor] = {}

    def signs(self, count: int) -> Tensor:
        """Return [DRAWS,count] float64 of -1 and 1."""
        if count not in self._signs:
            bits = torch.randint(2, (DRAWS, count), generator=self.generator, dtype=torch.int8)
            self._signs[count] = bits.double() * 2 - 1
        return self._signs[count]

    def orders(self, count: int) -> Tensor:
        """Return [DRAWS,count] int64, a permutation of ``count`` numbers in each row."""
        if count not in self._orders:
            self._orders[count] = torch.rand(DRAWS, count, generator=self.generator).argsort(1)
        return self._orders[count]


def sign_flip_p(values: Tensor, draws: Draws) -> float:
    """Return the p-value of a mean that differs from 0, if values were symmetric around 0; NaN below two values.

    Args:
        values: [n] one per independent unit; NaN are left out.
        draws: the random signs.
    """
    values = values[values.isfinite()].double()
    if len(values) < 2:
        return float("nan")
    return _share_beyond(draws.signs(len(values)) @ values, values.sum())


def permutation_p(values: Tensor, own: Tensor, draws: Draws) -> float:
    """Return the p-value of a difference in means between two groups of units, if membership did not matter.

    Args:
        values: [n] one per independent unit; NaN are left out.
        own: [n] bool, members of the first group.
        draws: the random permutations.
    """
    known = values.isfinite()
    values, own = values[known].double(), own[known]
    count, members = len(values), int(own.sum())
    if not 0 < members < count:
        return float("nan")
    weights = torch.where(torch.arange(count) < members, 1 / members, -1 / (count - members)).double()
    return _share_beyond(values[draws.orders(count)] @ weights, values[own].mean() - values[~own].mean())


def correlation_p(first: Tensor, second: Tensor, draws: Draws) -> tuple[float, float]:
    """Return Spearman's correlation of pairs [n] and its p-value over random permutations of one of them."""
    one, two = (torch.from_numpy(rankdata(values.double().numpy())) for values in (first, second))
    one, two = one - one.mean(), two - two.mean()
    scale = (one.square().sum() * two.square().sum()).sqrt()
    if not scale > 0:
        return float("nan"), float("nan")
    own = one @ two / scale
    return float(own), _share_beyond(two[draws.orders(len(two))] @ one / scale, own)


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


def _share_beyond(drawn: Tensor, observed: Tensor) -> float:
    limit = observed.abs() * (1 - _TIE)
    return (int((drawn.abs() >= limit).sum()) + 1) / (len(drawn) + 1)
