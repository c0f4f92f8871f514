"""The tables of a sweep's page: one row per job, and every number of every job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fervis.reporting.rendering import format_cell
from fervis.reporting.sweep.jobs import Job, Sweep, axis_label
from fervis.reporting.sweep.order import natural_key

_MOST_COLUMNS_OF_JOBS = 8


@dataclass(frozen=True)
class TableHead:
    """A column's name, and how the page's script sorts it: by ``order``, ``text`` or ``number``."""

    name: str
    sort: str


@dataclass(frozen=True)
class TableCell:
    """A cell's text, and the value by which the page's script sorts it."""

    text: str
    value: object = ""


@dataclass(frozen=True)
class JobRow:
    """A job's cells: those of the axes, then those of the numbers."""

    job: Job
    axes: Sequence[TableCell]
    numbers: Sequence[TableCell]


@dataclass(frozen=True)
class JobTable:
    """The table of jobs.

    Attributes:
        heads: of all columns.
        rows: one per job.
        states: whether there is a column of states, which there is where not every job is answered.
    """

    heads: Sequence[TableHead]
    rows: Sequence[JobRow]
    states: bool


@dataclass(frozen=True)
class NumberTable:
    """Every number of every answered job: the jobs' labels, and name -> one cell per job."""

    jobs: Sequence[str]
    rows: Mapping[str, Sequence[str]]


def job_table(sweep: Sweep) -> JobTable:
    """Arrange the jobs with as many of their numbers as there is room for, those that vary first."""
    names = _varying_first(sweep)[:_MOST_COLUMNS_OF_JOBS]
    states = any(job.state != "answered" for job in sweep.jobs)
    heads = [
        *(TableHead(axis_label(axis), "order") for axis in sweep.axes or ["question"]),
        *([TableHead("state", "text")] if states else []),
        *(TableHead(name, "number") for name in [*names, "seconds"]),
    ]
    rows = [JobRow(job, _axis_cells(sweep, job), _number_cells(job, names)) for job in sweep.jobs]
    return JobTable(heads, rows, states)


def number_table(sweep: Sweep) -> NumberTable | None:
    """Return every number of every answered job; None where the table of jobs has room for all."""
    jobs = [job for job in sweep.jobs if job.state == "answered"]
    numbers = [job.own_numbers() for job in jobs]
    names = sorted({name for own in numbers for name in own}, key=natural_key)
    if len(names) <= _MOST_COLUMNS_OF_JOBS:
        return None
    rows = {name: [format_cell(own.get(name)) for own in numbers] for name in names}
    return NumberTable([sweep.job_label(job) for job in jobs], rows)


def _varying_first(sweep: Sweep) -> list[str]:
    numbers = [job.own_numbers() for job in sweep.jobs if job.state == "answered"]
    names = dict.fromkeys(name for own in numbers for name in own)
    values = {name: {own.get(name) for own in numbers} for name in names}
    return sorted(names, key=lambda name: len(values[name]) < 2)


def _axis_cells(sweep: Sweep, job: Job) -> list[TableCell]:
    if not sweep.axes:
        return [TableCell(job.name)]
    # The first cell is the job's link, and must not be empty.
    texts = [job.swept.get(axis, "" if index else job.name) for index, axis in enumerate(sweep.axes)]
    return [
        TableCell(text, values.index(text) if text in values else "")
        for text, values in zip(texts, sweep.axes.values(), strict=True)
    ]


def _number_cells(job: Job, names: Sequence[str]) -> list[TableCell]:
    own = job.own_numbers()
    values = [*(own.get(name) for name in names), job.seconds]
    return [TableCell(format_cell(value), "" if value is None else repr(value)) for value in values]
