"""The changes of a sweep's numbers along its axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

from fervis.reporting.sweep.jobs import Job, Sweep, axis_label
from fervis.reporting.sweep.line_chart import SweepSeries
from fervis.reporting.sweep.order import is_number, order_values

_Point = tuple[Mapping[str, str], float]
"""Coordinates (axis -> value) and a number."""


def sweep_series(sweep: Sweep) -> list[SweepSeries]:
    """Return how each number changes over what was swept: one series for each number that is not the same everywhere.

    A number named ``<layer>/<number>`` after a layer of its job is that number at the layer, and likewise after one of
    several checkpoints. Numbers of several seeds share a value, unless nothing else was swept.
    """
    points: dict[str, list[_Point]] = {}
    for job in sweep.jobs:
        for name, number in job.numbers.items():
            quantity, coordinates = _coordinates(job, name)
            points.setdefault(quantity, []).append((coordinates, number))
    return [series for quantity, group in points.items() if (series := _series_of(sweep, quantity, group))]


def _coordinates(job: Job, name: str) -> tuple[str, dict[str, str]]:
    """Split the name of a number into the quantity and where it was measured."""
    coordinates = dict(job.swept)
    for axis, names in (("checkpoint", job.checkpoints), ("layer", job.layers)):
        head, _, rest = name.partition("/")
        if rest and head in names:
            coordinates[axis], name = head, rest
    return name, coordinates


def _series_of(sweep: Sweep, quantity: str, points: Sequence[_Point]) -> SweepSeries | None:
    if len({number for _, number in points}) < 2:
        return None
    points = _without_irrelevant_axes(points)
    values = _axis_values(sweep, points)
    if not values:
        return None
    over = _main_axis(values)
    repeated = "seed" if over != "seed" and "seed" in values else None
    others = [axis for axis in values if axis not in (over, repeated)]
    lines: dict[str, list[list[float]]] = {}
    for choice in product(*(values[axis] for axis in others)):
        fixed = dict(zip(others, choice, strict=True))
        line = [_numbers_at(points, {**fixed, over: value}) for value in values[over]]
        if any(line):
            lines[", ".join(_line_name(axis, value) for axis, value in fixed.items())] = line
    numeric = all(is_number(value) for value in values[over])
    return SweepSeries(
        quantity,
        axis_label(over),
        tuple(values[over]),
        lines,
        ordered=over != "seed" and (numeric or over in ("layer", "checkpoint")),
        spaced=numeric and over == "checkpoint",
    )


def _without_irrelevant_axes(points: Sequence[_Point]) -> list[_Point]:
    """Drop axes that the number does not depend on, such as the explained layer for an accuracy."""
    remaining: list[_Point] = list(points)
    for axis in dict.fromkeys(axis for coordinates, _ in points for axis in coordinates):
        merged: dict[tuple[tuple[str, str], ...], set[float]] = {}
        for coordinates, number in remaining:
            rest = tuple((name, value) for name, value in coordinates.items() if name != axis)
            merged.setdefault(rest, set()).add(number)
        if len(merged) < len(remaining) and all(len(numbers) == 1 for numbers in merged.values()):
            remaining = [(dict(rest), min(numbers)) for rest, numbers in merged.items()]
    return remaining


def _axis_values(sweep: Sweep, points: Sequence[_Point]) -> dict[str, list[str]]:
    """Return the axes in which the points differ, with their values in order."""
    values: dict[str, list[str]] = {}
    for axis in dict.fromkeys(axis for coordinates, _ in points for axis in coordinates):
        present = {coordinates[axis] for coordinates, _ in points if axis in coordinates}
        if len(present) > 1:
            listed = [value for value in sweep.axes.get(axis, ()) if value in present]
            values[axis] = listed if axis in sweep.axes else order_values(present)
    return values


def _main_axis(values: Mapping[str, Sequence[str]]) -> str:
    """Return the axis a series runs along: of layers, checkpoints and numbers the longest, else the first but seeds."""

    def rank(axis: str) -> tuple[int, int]:
        if axis == "seed":
            return (2, 0)
        ordered = axis in ("layer", "checkpoint") or all(is_number(value) for value in values[axis])
        return (0, -len(values[axis])) if ordered else (1, 0)

    return min(values, key=rank)


def _numbers_at(points: Sequence[_Point], coordinates: Mapping[str, str]) -> list[float]:
    return [number for at, number in points if all(at.get(axis) == value for axis, value in coordinates.items())]


def _line_name(axis: str, value: str) -> str:
    """Return a value that explains itself: ``lime``, ``conv7``, but ``width 16``."""
    bare = is_number(value) or value in ("true", "false", "none")
    return f"{axis_label(axis).rpartition('.')[2]} {value}" if bare else value
