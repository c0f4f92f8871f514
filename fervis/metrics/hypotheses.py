"""Tests of means by random signs and permutations, and Holm's correction for many tests.

Every test is two-sided and returns a p-value that cannot be 0: the observed value counts among the drawn ones
(Phipson and Smyth 2010, doi:10.2202/1544-6115.1585).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import torch
from torch import Generator, Tensor

from fervis.metrics.similarity import centered_ranks

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
    own, drawn = _permuted_correlations(first, second, draws.orders(len(second)))
    return float(own), _share_beyond(drawn, own) if own.isfinite() else float("nan")


def rank_correlation_p(first: Sequence[float], second: Sequence[float]) -> tuple[float, float]:
    """Return Spearman's correlation of at most nine pairs and its exact p-value over all permutations.

    Example:
        >>> rank_correlation_p([1, 2, 3, 4], [1, 2, 3, 4])
        (1.0, 0.0833...)
    """
    orders = torch.tensor(list(permutations(range(len(second)))))
    one, two = torch.tensor([first, second], dtype=torch.float64)
    own, drawn = _permuted_correlations(one, two, orders)
    share = float((drawn.abs() >= own.abs() - _TIE).double().mean())
    return float(own), share if own.isfinite() else float("nan")


def _permuted_correlations(first: Tensor, second: Tensor, orders: Tensor) -> tuple[Tensor, Tensor]:
    """Return Spearman's correlation [] of pairs [n], and [R] of R orders of the second; NaN for constants."""
    one, two = centered_ranks(torch.stack([first, second]))
    scale = (one.square().sum() * two.square().sum()).sqrt()
    return one @ two / scale, two[orders] @ one / scale


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
