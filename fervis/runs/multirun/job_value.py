"""The number that a job of a sweep returns, so that a sweeper can search for its best value."""

from __future__ import annotations

from pathlib import Path

from fervis.core.folders import RunFolder
from fervis.errors import ConfigError, nearest_name
from fervis.reporting.run_files import finite_numbers, table_of
from fervis.system.files import read_json


def job_value(folder: Path, name: str) -> float:
    """Return a number of a run's summary.

    Args:
        folder: of the run.
        name: of the number, such as ``deletion`` or ``conv7/deletion``.

    Raises:
        ConfigError: the run has no such number, or it is not finite.
    """
    numbers = finite_numbers(table_of(read_json(RunFolder(folder).summary), "numbers"))
    if name not in numbers:
        known = ", ".join(sorted(numbers)) or "none"
        raise ConfigError(f"value={name}: the answer has no such number.{nearest_name(name, numbers)} Known: {known}.")
    return float(numbers[name])
