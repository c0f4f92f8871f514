"""One table of many runs: a row per run folder, with the settings that differ and every number of its summary."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from fervis.core.folders import RunFolder
from fervis.errors import ConfigError
from fervis.reporting.run_files import finite_numbers, read_config, read_json_object, table_of
from fervis.reporting.sweep.axes import NOT_AXES
from fervis.reporting.wording import flatten_config
from fervis.system.console import log
from fervis.system.files import atomic_path

_TO = "--to"
_LEVELS_BELOW = 3
"""Folders between an outputs folder and a job of a sweep: ``sweeps/<sweep>/<job>``."""


@dataclass(frozen=True)
class RunRow:
    """The settings of a run under dotted keys, and the numbers of its summary."""

    folder: Path
    settings: dict[str, Any]
    numbers: dict[str, float]


def table_command(arguments: Sequence[str]) -> None:
    """Print the table of runs as CSV, or write it into the file after ``--to``.

    Raises:
        ConfigError: no folder is named, one holds no answer, or the file is of another format.
    """
    folders, target = list(arguments), None
    if _TO in folders:
        place = folders.index(_TO)
        if place + 1 == len(folders):
            raise ConfigError(f"table {_TO}: expected a file after it, such as numbers.csv or numbers.parquet.")
        target = Path(folders[place + 1])
        del folders[place : place + 2]
    if target is not None and target.suffix not in (".csv", ".parquet"):
        raise ConfigError(f"table {_TO} {target}: expected a file that ends in .csv or .parquet.")
    if not folders:
        raise ConfigError("table: expected run folders, sweeps' folders or an outputs folder.")
    columns = number_columns([read_row(folder) for folder in run_folders(map(Path, folders))])
    if target is None:
        print(csv_text(columns), end="")
        return
    with atomic_path(target) as partial:
        if target.suffix == ".parquet":
            _write_parquet(columns, partial)
        else:
            partial.write_text(csv_text(columns), encoding="utf-8", newline="")
    print(target)


def run_folders(folders: Iterable[Path]) -> list[Path]:
    """Return the complete run folders among these folders and below them, each once.

    Raises:
        ConfigError: a folder does not exist or holds no answer.
    """
    answered: dict[Path, None] = {}
    for folder in folders:
        summaries = [folder / RunFolder.SUMMARY]
        for depth in range(1, _LEVELS_BELOW + 1):
            summaries += sorted(folder.glob("/".join(["*"] * depth + [RunFolder.SUMMARY])))
        complete = [path.parent for path in summaries if path.is_file() and RunFolder(path.parent).config.is_file()]
        if not complete:
            raise ConfigError(f"table {folder}: it holds no answer ({RunFolder.SUMMARY} next to {RunFolder.CONFIG}).")
        answered |= dict.fromkeys(complete)
    return list(answered)


def read_row(folder: Path) -> RunRow:
    """Read the settings and the numbers of a run; a damaged file is logged, and its columns are empty."""
    summary, summary_problem = read_json_object(folder / RunFolder.SUMMARY)
    _, config, config_problem = read_config(folder)
    for problem in filter(None, (summary_problem, config_problem)):
        log.warning("%s", problem)
    settings = {key: value for key, value in flatten_config(config).items() if key.split(".")[0] not in NOT_AXES}
    return RunRow(folder, settings, finite_numbers(table_of(summary, "numbers")))


def number_columns(rows: Sequence[RunRow]) -> dict[str, list[Any]]:
    """Return the table's columns: ``folder``, the settings that differ between rows, and every number.

    A cell without a value is None. A number that has the name of a setting is called ``numbers/<name>``.
    """
    columns: dict[str, list[Any]] = {"folder": [str(row.folder) for row in rows]}
    for key in dict.fromkeys(key for row in rows for key in row.settings):
        values = [_cell(row.settings.get(key)) for row in rows]
        if any(value != values[0] for value in values):
            columns[key] = values
    for name in dict.fromkeys(name for row in rows for name in row.numbers):
        column = f"numbers/{name}" if name in columns else name
        columns[column] = [row.numbers.get(name) for row in rows]
    return columns


def csv_text(columns: dict[str, list[Any]]) -> str:
    """Return the columns as CSV, numbers with all their digits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return text.getvalue()


def _cell(value: Any) -> Any:
    """Return a setting as a cell: numbers and words as they are, lists joined, none and truth values as in YAML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ",".join(str(_cell(item)) for item in value)
    return str(value) if isinstance(value, dict) else value


def _write_parquet(columns: dict[str, list[Any]], path: Path) -> None:
    try:
        arrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError as error:
        raise ConfigError(
            "table: the package pyarrow is not installed; `pip install pyarrow` adds it, or write .csv."
        ) from error
    parquet.write_table(arrow.table({name: _one_type(values) for name, values in columns.items()}), path)


def _one_type(values: list[Any]) -> list[Any]:
    """Return a column whose values have one type: numbers, or all of them as text."""
    known = [value for value in values if value is not None]
    if all(isinstance(value, int | float) for value in known) or all(isinstance(value, str) for value in known):
        return [float(value) if isinstance(value, float | int) else value for value in values]
    return [None if value is None else str(value) for value in values]
