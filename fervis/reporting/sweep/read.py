"""Read the folder of a sweep: its jobs in order, what differs between them, and their results."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from fervis.reporting.run_files import (
    figure_path,
    finite_numbers,
    read_config,
    read_json_object,
    table_of,
    tables_of,
    texts_of,
)
from fervis.reporting.sweep.axes import command_overrides, sweep_values, swept_axes
from fervis.reporting.sweep.jobs import Job, Sweep, axis_label
from fervis.reporting.sweep.order import order_values
from fervis.reporting.wording import flatten_config
from fervis.system.files import CHUNKS_FOLDER

COMMAND_FILE = "command.txt"
"""The command of a sweep as it was typed, next to its page: with other words it starts another sweep."""
_UNFINISHED_FILES = (CHUNKS_FOLDER, "wandb", "tensorboard")
"""Files that an interrupted job may leave."""
_LAYER_GROUPS = ("all", "each", "last_conv", "last_map")
"""Words for layers whose own names the entries list."""


def read_sweep(folder: Path, command: str = "") -> Sweep:
    """Read every job of a sweep's folder: answered, failed or neither.

    Args:
        folder: it holds one folder per job, and ``multirun.yaml`` where Hydra wrote it.
        command: the command that started the sweep; where it is empty, the one saved in ``command.txt`` or by Hydra.
    """
    saved, typed = _hydra_command(folder), folder / COMMAND_FILE
    command = command or (typed.read_text(encoding="utf-8").strip() if typed.is_file() else "")
    jobs = [_read_job(path) for path in sorted(folder.iterdir()) if _is_job(path)]
    known = [job for job in jobs if job.settings or job.command]
    swept = swept_axes(
        {job.name: command_overrides(job.command) for job in known}, {job.name: job.settings for job in known}
    )
    axes = _ordered_axes(swept, [command_overrides(command), command_overrides(saved)])
    order = {axis: {value: index for index, value in enumerate(values)} for axis, values in axes.items()}
    jobs = [replace(job, swept=swept.get(job.name, {})) for job in jobs]
    jobs.sort(key=lambda job: [order[axis].get(job.swept.get(axis, ""), len(order[axis])) for axis in axes])
    return Sweep(folder, command or saved, axes, tuple(jobs))


def _ordered_axes(
    swept: Mapping[str, Mapping[str, str]], commands: Sequence[Mapping[str, str]]
) -> dict[str, tuple[str, ...]]:
    """Return each axis with its values in order.

    Args:
        swept: job -> axis -> value.
        commands: overrides of the sweep as typed, and as Hydra saved them, where ``layer=each`` is written out in the
            network's own order.
    """
    axes: dict[str, tuple[str, ...]] = {}
    for axis in dict.fromkeys(axis for values in swept.values() for axis in values):
        present = {values[axis] for values in swept.values()}
        lists = [sweep_values(overrides.get(axis, overrides.get(axis_label(axis), ""))) for overrides in commands]
        axes[axis] = tuple(order_values(present, next((values for values in lists if present <= set(values)), [])))
    return axes


def _is_job(path: Path) -> bool:
    """Return whether a folder is a job's.

    That of an interrupted job holds at most hidden files, chunks and what a tracker wrote.
    """
    if not path.is_dir() or path.name.startswith((".", "_")):
        return False
    ended = any((path / name).is_file() for name in ("summary.json", "failure.json"))
    return ended or all(file.name.startswith(".") or file.name in _UNFINISHED_FILES for file in path.iterdir())


def _read_job(folder: Path) -> Job:
    """Read a job; one whose summary or failure is damaged counts as failed, with the damaged file as its error."""
    failure, failure_problem = read_json_object(folder / "failure.json")
    summary, summary_problem = read_json_object(folder / "summary.json")
    problem = failure_problem or summary_problem
    # A failure next to a result is that of a later repetition.
    if failure or problem or not summary:
        overrides = texts_of(failure, "overrides")
        command = str(failure.get("command") or (shlex.join(["python", "-m", "fervis", *overrides]) if failure else ""))
        state = "failed" if failure or problem else "unfinished"
        return Job(folder.name, state, command=command, error=str(failure.get("error", problem)))
    return _read_result(folder, summary)


def _read_result(folder: Path, summary: Mapping[str, Any]) -> Job:
    manifest, manifest_problem = read_json_object(folder / "manifest.json")
    _, config, config_problem = read_config(folder)
    settings = flatten_config(config)
    entries = tables_of(summary, "entries")
    checkpoints = settings.get("checkpoint")
    figure = next(iter(tables_of(summary, "figures")), {})
    seconds = finite_numbers(table_of(manifest, "seconds"))
    problems = [problem for problem in (manifest_problem, config_problem) if problem]
    return Job(
        name=folder.name,
        state="answered",
        settings=settings,
        title=str(summary.get("title", "")),
        numbers=finite_numbers(table_of(summary, "numbers")),
        layers=_job_layers(settings.get("layer"), entries),
        checkpoints=tuple(Path(str(item)).stem for item in checkpoints) if isinstance(checkpoints, list) else (),
        of_faces=not entries or "label" in entries[0],
        figure=figure_path(folder, figure.get("file", "")),
        caption=str(figure.get("caption", "")),
        command=str(manifest.get("command", "")),
        seconds=sum(seconds.values()) if seconds else None,
        warnings=(*problems, *texts_of(manifest, "warnings")),
        manifest=manifest,
    )


def _job_layers(setting: object, entries: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the layers that a job explains: those of the setting, then those of the entries."""
    named = setting if isinstance(setting, list) else [setting] if isinstance(setting, str) else []
    names = [str(name) for name in named] + [str(entry["layer"]) for entry in entries if entry.get("layer")]
    return tuple(name for name in dict.fromkeys(names) if name not in _LAYER_GROUPS)


def _hydra_command(folder: Path) -> str:
    """Return the command that Hydra saved of a sweep, or an empty string."""
    path = folder / "multirun.yaml"
    try:
        saved = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None
        task = saved["hydra"]["overrides"]["task"] if saved else []
    except (yaml.YAMLError, UnicodeDecodeError, LookupError, TypeError):
        return ""
    return shlex.join(["python", "-m", "fervis", "-m", *map(str, task)]) if saved else ""
