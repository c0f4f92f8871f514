"""Bootstrap resampling and the intervals made from it."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Generator, Tensor

from fervis.core.intervals import Interval

# Resamples per matrix product: a fixed number, so that the draws depend on the generator alone.
RESAMPLES_PER_CHUNK = 256


def resampled_counts(count: int, resamples: int, generator: Generator) -> Iterator[Tensor]:
    """Yield chunks [R,count] float64: how often each of ``count`` units is in each resample of as many."""
    for start in range(0, resamples, RESAMPLES_PER_CHUNK):
        draws = torch.randint(count, (min(RESAMPLES_PER_CHUNK, resamples - start), count), generator=generator)
        once = torch.ones((), dtype=torch.float64).expand(draws.shape)
        yield torch.zeros(draws.shape, dtype=torch.float64).scatter_add_(1, draws, once)


RESAMPLES = 1000
CONFIDENCE = 0.95


def resample_indices(faces: int, generator: torch.Generator) -> Tensor:
    """Draw bootstrap resamples: how often each of n faces is in each of 1000 resamples of as many, [1000,n] float64."""
    return torch.cat(list(resampled_counts(faces, RESAMPLES, generator)))


def bootstrap_mean(values: Tensor, weights: Tensor, confidence: float = CONFIDENCE) -> Interval:
    """Compute the mean of one number per face with its percentile interval; faces whose number is NaN are left out.

    One face has a number and no interval, none has neither.

    Args:
        values: [n] float64.
        weights: [R,n] float64, as ``resample_indices`` draws them.
        confidence: share of the resampled means within the interval.
    """
    known = values.isfinite()
    values, weights = values[known].double(), weights[:, known]
    if len(values) < 2:
        return Interval(float(values.mean()))
    return Interval(float(values.mean()), *interval_ends((weights * values).sum(1) / weights.sum(1), confidence))


def interval_ends(values: Tensor, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the ends of the interval that holds this share of the resampled values, NaN left out."""
    ends = torch.tensor([(1 - confidence) / 2, (1 + confidence) / 2], dtype=torch.float64)
    low, high = values.double().nanquantile(ends).tolist()
    return low, high
