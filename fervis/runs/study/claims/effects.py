"""An effect: a number that is above 0 if a statement is right, with its interval and its p-value."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from fervis.core.intervals import Interval
from fervis.metrics.bootstrap import RESAMPLES, bootstrap_mean, interval_ends, resample_indices
from fervis.metrics.hypotheses import Draws, permutation_p, sign_flip_p
from fervis.metrics.similarity import spearman


@dataclass(frozen=True)
class Effect:
    """A number that is above 0 if a statement is right, and below 0 if its contrary is.

    Attributes:
        name: what the number is.
        value: with its 95 % bootstrap interval.
        p: two-sided p-value of a value of 0; NaN where there is no test.
    """

    name: str
    value: Interval
    p: float


def mean_effect(name: str, values: Tensor, draws: Draws, *, zero: float = 0.0, sign: int = 1) -> Effect:
    """Return the effect of a mean that differs from ``zero``; its value is the mean itself.

    Args:
        name: of the effect.
        values: [n] one per image; NaN are left out.
        draws: of the bootstrap and of the random signs.
        zero: the mean if there is no effect.
        sign: -1 if the statement says that the mean is below.
    """
    values = values.double()
    centred = sign * (values - zero)
    interval = bootstrap_mean(centred, resample_indices(len(values), draws.generator)) if len(values) else _NOTHING
    return Effect(name, interval, sign_flip_p(centred, draws))


def difference_effect(name: str, values: Tensor, own: Tensor, draws: Draws) -> Effect:
    """Return the effect of the mean of one group of images above that of another.

    Args:
        name: of the effect.
        values: [n] one per image; NaN are left out.
        own: [n] bool, which images are of the first group; the others are of the second.
        draws: of the bootstrap, in which each group is resampled on its own, and of the random permutations.
    """
    known = values.isfinite()
    values, own = values[known].double(), own[known]
    one, other = values[own], values[~own]
    if min(len(one), len(other)) < 2:
        return Effect(name, _NOTHING, math.nan)
    drawn = [resample_indices(len(group), draws.generator) @ group / len(group) for group in (one, other)]
    ends = interval_ends(drawn[0] - drawn[1])
    return Effect(name, Interval(float(one.mean() - other.mean()), *ends), permutation_p(values, own, draws))


def correlation_interval(first: Tensor, second: Tensor, draws: Draws) -> tuple[float, float]:
    """Return the ends of the bootstrap interval of Spearman's correlation of pairs [n]."""
    picks = torch.randint(len(first), (RESAMPLES, len(first)), generator=draws.generator)
    return interval_ends(spearman(first[picks], second[picks]))


def row_correlations(table: Tensor) -> Tensor:
    """Return Spearman's correlation [n] of each row of a table [n,m] with its columns' order; NaN for constant rows."""
    return spearman(table, torch.arange(table.shape[1]).expand_as(table))


_NOTHING = Interval(math.nan)
