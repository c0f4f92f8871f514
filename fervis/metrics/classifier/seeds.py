"""Several trainings of one config that differ in the seed alone: their mean, their spread and their ensemble."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fervis.errors import ConfigError
from fervis.metrics.classifier.evaluation import PER_CLASS, SINGLE


def mean_of_runs(reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Compute mean and standard deviation over runs.

    Args:
        reports: what ``evaluate_predictions`` reports of each run, on the same images.

    Returns:
        ``runs`` (how many) and ``results``: split -> views -> subset -> ``n`` (images), the metrics of ``SINGLE`` and
        ``per_class`` as ``{mean, sd, values}``. ``sd`` has runs - 1 in its denominator, so it is None for one run;
        where a run has no value, there is neither mean nor sd. A single value's interval is about the images, ``sd``
        about the seed: neither contains the other.

    Raises:
        ConfigError: no reports, or not of the same images.
    """
    if not reports:
        raise ConfigError("runs=[]: expected the evaluation of one run at least.")
    if any(_confusion_of_runs(report) != _confusion_of_runs(reports[0]) for report in reports):
        raise ConfigError("runs: expected evaluations of the same classes, splits, views and images.")
    results = {
        split: {
            kind: {
                subset: _mean_and_spread([report["results"][split][kind][subset] for report in reports])
                for subset in parts
            }
            for kind, parts in kinds.items()
        }
        for split, kinds in reports[0]["results"].items()
    }
    return {"runs": len(reports), "results": results}


def ensemble(probabilities: Sequence[Tensor]) -> Tensor:
    """Average several networks' [N,K] probabilities for the same images and classes."""
    return torch.stack(list(probabilities)).mean(0)


def _confusion_of_runs(report: Mapping[str, Any]) -> list[Any]:
    """Return what must be the same in all runs."""
    leaves = [
        (split, kind, subset, score["n"])
        for split, kinds in report["results"].items()
        for kind, subsets in kinds.items()
        for subset, score in subsets.items()
    ]
    return [report["classes"], *sorted(leaves)]


def _mean_and_spread(scores: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    first = scores[0]
    return {
        "n": first["n"],
        **{name: _statistics([score[name]["value"] for score in scores]) for name in SINGLE},
        "per_class": {
            label: {
                name: _statistics([score["per_class"][label][name]["value"] for score in scores]) for name in PER_CLASS
            }
            for label in first["per_class"]
        },
    }


def _statistics(values: list[float | None]) -> dict[str, Any]:
    known = [value for value in values if value is not None]
    whole = len(known) == len(values)
    return {
        "mean": statistics.fmean(known) if whole else None,
        "sd": statistics.stdev(known) if whole and len(known) > 1 else None,
        "values": values,
    }
