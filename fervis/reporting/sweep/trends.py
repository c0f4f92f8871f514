"""How the numbers of a sweep's jobs change over what was swept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

from fervis.reporting.sweep.jobs import Sweep, axis_label
from fervis.reporting.sweep.line_chart import SweepSeries
from fervis.reporting.sweep.order import is_number, order_values


def sweep_series(sweep: Sweep) -> list[SweepSeries]:
    """How each number changes over what was swept: one trend for each number that is not the same everywhere.

    A number named ``<layer>/<number>`` after a layer of its job is that number at the layer, and likewise after one of
    several checkpoints. Numbers of several seeds stand side by side, unless nothing else was swept.
    """
    rows: dict[str, list[tuple[dict[str, str], float]]] = {}
    for job in sweep.jobs:
        for name, value in job.numbers.items():
            place = dict(job.swept)
            for axis, names in (("checkpoint", job.checkpoints), ("layer", job.layers)):
                head, _, rest = name.partition("/")
                if rest and head in names:
                    place[axis], name = head, rest
            rows.setdefault(name, []).append((place, value))
    found = [_one_series(sweep, quantity, there) for quantity, there in rows.items()]
    return [trend for trend in found if trend]


def _one_series(sweep: Sweep, quantity: str, rows: Sequence[tuple[Mapping[str, str], float]]) -> SweepSeries | None:
    if len({value for _, value in rows}) < 2:
        return None
    rows = _where_it_matters(rows)
    axes = dict.fromkeys(axis for place, _ in rows for axis in place)
    values = {
        axis: [one for one in sweep.axes[axis] if one in there] if axis in sweep.axes else order_values(there)
        for axis in axes
        if len(there := {place[axis] for place, _ in rows if axis in place}) > 1
    }
    if not values:
        return None
    over = _axis_values(values)
    repeated = "seed" if over != "seed" and "seed" in values else None
    others = [axis for axis in values if axis not in (over, repeated)]
    series: dict[str, list[list[float]]] = {}
    for wanted in product(*(values[axis] for axis in others)):
        line = [
            [
                number
                for place, number in rows
                if place.get(over) == value
                and all(place.get(axis) == one for axis, one in zip(others, wanted, strict=True))
            ]
            for value in values[over]
        ]
        if any(line):
            series[", ".join(_named(axis, one) for axis, one in zip(others, wanted, strict=True))] = line
    numeric = all(is_number(value) for value in values[over])
    return SweepSeries(
        quantity,
        axis_label(over),
        tuple(values[over]),
        series,
        ordered=over != "seed" and (numeric or over in ("layer", "checkpoint")),
        spaced=numeric and over == "checkpoint",
    )


def _where_it_matters(rows: Sequence[tuple[Mapping[str, str], float]]) -> list[tuple[Mapping[str, str], float]]:
    """The rows without axes that the number does not depend on, such as an accuracy on the layer that is explained."""
    kept: list[tuple[Mapping[str, str], float]] = list(rows)
    for axis in dict.fromkeys(axis for place, _ in rows for axis in place):
        merged: dict[tuple[tuple[str, str], ...], set[float]] = {}
        for place, value in kept:
            merged.setdefault(tuple((name, one) for name, one in place.items() if name != axis), set()).add(value)
        if len(merged) < len(kept) and all(len(values) == 1 for values in merged.values()):
            kept = [(dict(place), min(values)) for place, values in merged.items()]
    return kept


def _axis_values(values: Mapping[str, Sequence[str]]) -> str:
    """The axis a trend runs along: of layers, checkpoints and numbers the longest, else the first that is no seed."""

    def rank(axis: str) -> tuple[int, int]:
        if axis == "seed":
            return (2, 0)
        runs = axis in ("layer", "checkpoint") or all(is_number(value) for value in values[axis])
        return (0, -len(values[axis])) if runs else (1, 0)

    return min(values, key=rank)


def _named(axis: str, value: str) -> str:
    """A value that says what it is: ``lime``, ``conv7``, but ``width 16``."""
    bare = is_number(value) or value in ("true", "false", "none")
    return f"{axis_label(axis).rpartition('.')[2]} {value}" if bare else value
