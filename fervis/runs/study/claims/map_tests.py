"""Test statements about maps: which regions they mark, what hiding these does, how scattered they are."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from fervis.core.intervals import Interval
from fervis.metrics.hypotheses import Draws, rank_correlation_p
from fervis.runs.study.claims.cases import CONTROL_CHECKPOINTS, MapCase
from fervis.runs.study.claims.effects import Effect, correlation_interval, difference_effect, mean_effect
from fervis.runs.study.claims.statements import Statement


def map_effects(statement: Statement, case: MapCase, draws: Draws) -> list[Effect]:
    """Return the effects of a statement in a case; none where the case does not have what the statement is about."""
    stated = statement.settings
    if case.method not in (*stated.get("explainers", [case.method]), case.control):
        return []
    named = {stated.get("class"), *stated.get("others", ()), *stated.get("against", ())} - {None}
    if named - set(case.classes):
        return []
    return _MAP_TESTS[statement.kind](statement, case, draws)


def _region(statement: Statement, case: MapCase, draws: Draws) -> list[Effect]:
    """Density of the class's maps in the regions, its lead over other classes, and what hiding the regions costs."""
    stated = statement.settings
    regions, sign = _known(stated["regions"], case.shares), -1 if stated.get("weak") else 1
    if not regions:
        return []
    right = case.take(case.correct)
    own = right.labels == case.classes.index(stated["class"])
    density = sum_of(right.shares, regions) / sum_of(right.areas, regions)
    density = density.where(density.isfinite(), math.nan)
    effects = [mean_effect("density", density[own], draws, zero=1, sign=sign)]
    if sign > 0:
        among = own | _of_classes(right, stated.get("against", case.classes))
        effects.append(difference_effect("lead over other classes", density[among], own[among], draws))
        hidden = [right.gains[name] for name in regions if name in right.gains]
        if hidden and not _is_map_control(case):
            gains = torch.stack(hidden).nanmean(0)
            effects.append(mean_effect("hiding, beyond patches", gains[own], draws))
    return effects


def _face_share(statement: Statement, case: MapCase, draws: Draws) -> list[Effect]:
    regions = _known(statement.settings["regions"], case.shares)
    if not regions:
        return []
    right = case.take(case.correct)
    return [mean_effect("share above one half", sum_of(right.shares, regions), draws, zero=0.5)]


def _edges(_: Statement, case: MapCase, draws: Draws) -> list[Effect]:
    right = case.take(case.correct)
    edges = right.edges.double()
    density = (right.magnitudes * edges).sum((1, 2)) / edges.mean((1, 2))
    return [mean_effect("density on edges", density, draws, zero=1)]


def _spread(statement: Statement, case: MapCase, draws: Draws) -> list[Effect]:
    right = case.take(case.correct)
    own = right.labels == case.classes.index(statement.settings["class"])
    return [difference_effect("entropy above other classes", map_entropy(right), own, draws)]


def _recall(statement: Statement, case: MapCase, draws: Draws) -> list[Effect]:
    own = case.labels == case.classes.index(statement.settings["class"])
    among = own | _of_classes(case, statement.settings["others"])
    return [difference_effect("recall above the others", case.correct.double()[among], own[among], draws)]


def _scatter(_: Statement, case: MapCase, draws: Draws) -> list[Effect]:
    """Correlation over classes of the entropy of maps with the recall, its sign turned."""
    entropy = map_entropy(case)
    numbers = case.labels.unique()
    scattered = torch.stack([entropy[case.labels == number].nanmean() for number in numbers])
    missed = torch.stack([1 - case.correct[case.labels == number].double().mean() for number in numbers])
    if len(numbers) < 4 or not scattered.isfinite().all():
        return []
    correlation, p = rank_correlation_p(scattered.tolist(), missed.tolist())
    ends = correlation_interval(scattered, missed, draws)
    return [Effect("rank correlation with errors", Interval(correlation, *ends), p)]


def map_entropy(case: MapCase) -> Tensor:
    """Return the entropy [N] of each map's magnitudes in nats; NaN for a map of zeros."""
    shares = case.magnitudes.flatten(1)
    return -(shares * shares.clamp(min=1e-300).log()).sum(1)


def sum_of(columns: Mapping[str, Tensor], regions: Sequence[str]) -> Tensor:
    """Return the sum [N] of the columns of regions."""
    return torch.stack([columns[name] for name in regions]).sum(0)


def _known(regions: Sequence[str], columns: Mapping[str, Tensor]) -> list[str]:
    return [name for name in regions if name in columns]


def _of_classes(case: MapCase, names: Sequence[str]) -> Tensor:
    numbers = torch.tensor([case.classes.index(name) for name in names])
    return torch.isin(case.labels, numbers)


def _is_map_control(case: MapCase) -> bool:
    """Whether the case is a control by its maps, of the very network that is explained."""
    return bool(case.control) and case.control not in CONTROL_CHECKPOINTS.values()


_MAP_TESTS: Mapping[str, Callable[[Statement, MapCase, Draws], list[Effect]]] = {
    "region": _region,
    "face_share": _face_share,
    "edges": _edges,
    "spread": _spread,
    "recall": _recall,
    "scatter": _scatter,
}
MAP_KINDS = frozenset(_MAP_TESTS)
OF_NETWORK = frozenset({"recall"})
"""Kinds that concern the network and no map; controls have no such tests."""
