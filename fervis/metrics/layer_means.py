"""Means of an explanation's numbers by layer and checkpoint, with intervals: what a trend over depth shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from fervis.core.intervals import Interval
from fervis.core.results import Explanation
from fervis.metrics.bootstrap import bootstrap_mean, resample_indices

_SEED = 0  # of the resamples, the same for every run, so that equal numbers have equal intervals


def layer_means(explanations: Iterable[Explanation]) -> tuple[dict[str, Interval], int]:
    """Compute the mean over entries of every number that a result has by layer, with its 95 % bootstrap interval.

    Args:
        explanations: one, or the parts of one that was computed in chunks, of results with ``layer_numbers``; results
            without have no means.

    Returns:
        The means by ``Explanation.mean_key``, and the largest number of entries that one of them is over. NaN where no
        entry has the number; without ends where fewer than two have it.
    """
    values: dict[str, list[Tensor]] = {}
    for explanation in explanations:
        numbers = getattr(explanation.result, "layer_numbers", dict)()
        for (layer, checkpoint), entries in explanation.entries_by_layer().items():
            for name, column in numbers.items():
                values.setdefault(explanation.mean_key(layer, checkpoint, name), []).append(column[entries])
    columns = {key: torch.cat(parts) for key, parts in values.items()}
    sizes = {len(column) for column in columns.values()}
    weights = {size: resample_indices(size, torch.Generator().manual_seed(_SEED)) for size in sizes}
    means = {key: bootstrap_mean(column, weights[len(column)]) for key, column in columns.items()}
    return means, max(sizes, default=0)


def interval_numbers(means: Mapping[str, Interval]) -> dict[str, float]:
    """Flatten intervals into finite numbers: ``conv7/black``, ``conv7/black_low`` and ``conv7/black_high``."""
    flat = {
        f"{key}{ending}": value
        for key, mean in means.items()
        for ending, value in (("", mean.value), ("_low", mean.low), ("_high", mean.high))
    }
    return {name: value for name, value in flat.items() if value - value == 0}
