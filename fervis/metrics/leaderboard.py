"""Rank methods by their scores, and measure how far rankings agree."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import kendalltau, rankdata


def ranks(scores: Mapping[str, float], *, higher: bool) -> dict[str, float]:
    """Rank methods from 1, the best; equal scores share the mean of their ranks, and NaN has none.

    Example:
        >>> ranks({"a": 0.2, "b": 0.9, "c": 0.2}, higher=True)
        {'a': 2.5, 'b': 1.0, 'c': 2.5}
    """
    known = {name: score for name, score in scores.items() if math.isfinite(score)}
    values = np.array(list(known.values()), float)
    return dict(zip(known, rankdata(-values if higher else values).tolist(), strict=True))


def mean_ranks(rankings: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean rank of each method that every ranking has, best first.

    Example:
        >>> mean_ranks([{"a": 2.0, "b": 1.0}, {"a": 3.0, "b": 1.0, "c": 2.0}])
        {'b': 1.0, 'a': 2.5}
    """
    common = [name for name in (rankings[0] if rankings else ()) if all(name in ranking for ranking in rankings)]
    means = {name: sum(ranking[name] for ranking in rankings) / len(rankings) for name in common}
    return dict(sorted(means.items(), key=lambda item: item[1]))


def rank_agreement(rankings: Mapping[str, Mapping[str, float]]) -> dict[tuple[str, str], float]:
    """Return Kendall's tau-b of every pair of rankings, over the methods that both have; NaN where one is constant.

    Example:
        >>> tau = rank_agreement({"x": {"a": 1, "b": 2, "c": 3}, "y": {"a": 1, "b": 3, "c": 2}})
        >>> round(tau["x", "y"], 4)
        0.3333
    """
    agreement = {}
    for first, second in itertools.combinations(rankings, 2):
        common = [name for name in rankings[first] if name in rankings[second]]
        one, two = ([rankings[name][method] for method in common] for name in (first, second))
        agreement[first, second] = float(np.asarray(kendalltau(one, two))[0]) if len(common) > 1 else math.nan
    return agreement
