"""Test statements about numbers of layers: trends with depth, differences of checkpoints, shares and ranges."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from scipy.stats import binomtest
from torch import Tensor

from fervis.core.intervals import Interval
from fervis.metrics.bootstrap import bootstrap_mean, resample_indices
from fervis.metrics.hypotheses import Draws, correlation_p
from fervis.runs.study.claims.cases import NumberCase
from fervis.runs.study.claims.effects import Effect, correlation_interval, mean_effect, row_correlations
from fervis.runs.study.claims.statements import Statement

Entries = Sequence[Mapping[str, Any]]


def number_effects(statement: Statement, case: NumberCase, draws: Draws) -> list[Effect]:
    """Return the effects of a statement in a run; none where the run does not have its numbers."""
    stated = statement.settings
    if case.explainer != stated["run"]:
        return []
    entries = [entry for entry in case.entries if stated["number"] in entry]
    layers = list(dict.fromkeys(entry["layer"] for entry in entries))
    if layers != stated.get("layers", layers) or not entries:
        return []
    return _NUMBER_TESTS[statement.kind](stated, entries, draws)


def _trend(stated: Mapping[str, Any], entries: Entries, draws: Draws) -> list[Effect]:
    """Rank correlation with depth: by image where each image has all layers, else over all entries."""
    layers = list(dict.fromkeys(entry["layer"] for entry in entries))
    if len(layers) < 3 or len({entry.get("checkpoint") for entry in entries}) > 1:
        return []
    sign = -1 if stated.get("falls") else 1
    depth = torch.tensor([float(layers.index(entry["layer"])) for entry in entries])
    values = sign * _values(entries, stated["number"])
    table = _by_image(entries, values, layers)
    if table is not None:
        return [mean_effect("rank correlation with depth", row_correlations(table), draws)]
    known = values.isfinite()
    depth, values = depth[known], values[known]
    correlation, p = correlation_p(depth, values, draws)
    ends = correlation_interval(depth, values, draws)
    return [Effect("rank correlation with depth", Interval(correlation, *ends), p)]


def _checkpoint_difference(stated: Mapping[str, Any], entries: Entries, draws: Draws) -> list[Effect]:
    """Difference of the first checkpoint and the second, image by image."""
    checkpoints = list(dict.fromkeys(entry.get("checkpoint") for entry in entries))
    if len(checkpoints) != 2:
        return []
    sign = -1 if stated.get("falls") else 1
    first, second = (
        {entry["row"]: _number(entry, stated["number"]) for entry in entries if entry["checkpoint"] == checkpoint}
        for checkpoint in checkpoints
    )
    differences = torch.tensor([sign * (first[row] - second[row]) for row in first if row in second])
    return [mean_effect(f"{checkpoints[0]} against {checkpoints[1]}", differences, draws)]


def _share_above(stated: Mapping[str, Any], entries: Entries, draws: Draws) -> list[Effect]:
    """Share of the entries above another of their numbers, beyond a chance, by the exact binomial test."""
    above = stated["above"]
    limits = _values(entries, above) if isinstance(above, str) else torch.full((len(entries),), float(above))
    values = _values(entries, stated["number"])
    known = values.isfinite() & limits.isfinite()
    hits = (values > limits)[known].double()
    if len(hits) < 2:
        return []
    interval = bootstrap_mean(hits - stated["chance"], resample_indices(len(hits), draws.generator))
    p = binomtest(int(hits.sum()), len(hits), stated["chance"]).pvalue
    return [Effect(f"share beyond {stated['chance']:.0%}", interval, float(p))]


def _within(stated: Mapping[str, Any], entries: Entries, draws: Draws) -> list[Effect]:
    """Distance of the mean from the nearer of the two ends: above 0 inside, below 0 outside."""
    chosen = [entry for entry in entries if str(entry.get("checkpoint")) == stated["checkpoint"]]
    low, high = stated["between"]
    values = _values(chosen, stated["number"])
    if len(values) < 2:
        return []
    mean = float(values.nanmean())
    nearer, sign = (low, 1) if mean - low < high - mean else (high, -1)
    return [mean_effect(f"mean inside {low:g} to {high:g}", values, draws, zero=nearer, sign=sign)]


def _by_image(entries: Entries, values: Tensor, layers: Sequence[str]) -> Tensor | None:
    """Return [images,layers] of the values where each image has each layer once, or None."""
    cells: dict[tuple[Any, str], float] = {}
    for entry, value in zip(entries, values.tolist(), strict=True):
        if entry.get("row") is None:
            return None
        cells[entry["row"], entry["layer"]] = value
    rows = list(dict.fromkeys(row for row, _ in cells))
    if len(cells) != len(rows) * len(layers):
        return None
    return torch.tensor([[cells[row, layer] for layer in layers] for row in rows], dtype=torch.float64)


def _values(entries: Entries, name: str) -> Tensor:
    return torch.tensor([_number(entry, name) for entry in entries], dtype=torch.float64)


def _number(entry: Mapping[str, Any], name: str) -> float:
    value = entry[name]
    return math.nan if value is None else float(value)


_NUMBER_TESTS: Mapping[str, Callable[[Mapping[str, Any], Entries, Draws], list[Effect]]] = {
    "trend": _trend,
    "difference": _checkpoint_difference,
    "share": _share_above,
    "within": _within,
}
NUMBER_KINDS = frozenset(_NUMBER_TESTS)
