"""A sweep's folder as plain rows: its jobs in order, what differs between them, what they found, how it changes."""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from fervis.reporting.wording import flatten_config, format_setting
from fervis.system.files import CHUNKS_FOLDER

AXIS_ORDER = ("explainer.name", "model.name", "dataset.name", "layer", "target", "checkpoint", "seed")
"""What a difference between jobs is put down to first, where their commands do not tell what was swept."""
NOT_AXES = ("tracker", "device", "threads", "rerun", "quiet", "outputs", "hydra")
"""Settings that say how the jobs ran, not what they asked."""
COMMAND_FILE = "command.txt"
"""What started a sweep as it was typed, beside its page: a command with other words is a sweep of another folder."""
UNFINISHED_MARKS = (CHUNKS_FOLDER, "wandb", "tensorboard")
"""What a job that was stopped may have written."""


@dataclass(frozen=True)
class Job:
    """One question of a sweep.

    Attributes:
        name: its folder's name.
        state: ``answered``, ``failed``, or ``unfinished`` where the folder tells of neither.
        swept: axis -> its value here, in words; axes that are not known of an unfinished job are missing.
        settings: the resolved question under dotted keys; empty where there is no answer.
        title: the answer's own.
        numbers: what it found, by name; finite.
        layers: the layers it is of.
        checkpoints: the checkpoints it compares, where there are several.
        of_faces: whether its entries are faces.
        figure: the first figure's file, if any.
        caption: what that figure shows.
        command: what asks the same again.
        seconds: wall time, None where it is not known.
        error: why it failed, in one sentence.
        warnings: what a reader should know before believing the answer.
        manifest: the manifest.
    """

    name: str
    state: str
    swept: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    title: str = ""
    numbers: Mapping[str, float] = field(default_factory=dict)
    layers: tuple[str, ...] = ()
    checkpoints: tuple[str, ...] = ()
    of_faces: bool = True
    figure: Path | None = None
    caption: str = ""
    command: str = ""
    seconds: float | None = None
    error: str = ""
    warnings: tuple[str, ...] = ()
    manifest: Mapping[str, Any] = field(default_factory=dict)

    def own_numbers(self) -> dict[str, float]:
        """The numbers; ``conv7/sharpness`` of a job about conv7 alone is ``sharpness``, to be compared over layers."""
        if len(self.layers) != 1:
            return dict(self.numbers)
        prefix = f"{self.layers[0]}/"
        short = {name: name.removeprefix(prefix) for name in self.numbers}
        return {name if short[name] in self.numbers else short[name]: value for name, value in self.numbers.items()}


@dataclass(frozen=True)
class Sweep:
    """All questions of a sweep.

    Attributes:
        folder: where it lies.
        command: what started it.
        axes: what is swept -> its values in order. A plug-in's axis is its name, such as ``explainer.name``.
        jobs: in the order of the axes' values, those that are not finished last.
    """

    folder: Path
    command: str
    axes: Mapping[str, tuple[str, ...]]
    jobs: tuple[Job, ...]

    def count(self, state: str) -> int:
        """How many jobs are ``answered``, ``failed`` or ``unfinished``."""
        return sum(job.state == state for job in self.jobs)

    def named(self, job: Job) -> str:
        """A job by its swept values, such as ``conv3 · lime · seed 0``; by its folder where they are not known."""
        values = (
            job.swept[axis] if axis == "layer" or axis.endswith(".name") else f"{value_label(axis)} {job.swept[axis]}"
            for axis in self.axes
            if axis in job.swept
        )
        return " · ".join(values) or job.name


def read_sweep(folder: Path, command: str = "") -> Sweep:
    """Read every job of a sweep's folder: answered, failed or neither.

    Args:
        folder: it holds a folder a job, and ``multirun.yaml`` where Hydra wrote it.
        command: what started the sweep; where it is empty, what was kept of it, in ``command.txt`` or by Hydra.
    """
    kept, typed = _command_of(folder), folder / COMMAND_FILE
    command = command or (typed.read_text(encoding="utf-8").strip() if typed.is_file() else "")
    found = [_read_job(path) for path in sorted(folder.iterdir()) if _is_job(path)]
    known = [job for job in found if job.settings or job.command]
    swept = _swept_axes({job.name: _overrides(job.command) for job in known}, {job.name: job.settings for job in known})
    # What Hydra kept has `layer=each` written out, in the network's own order.
    asked = [_overrides(command), _overrides(kept)]
    axes: dict[str, tuple[str, ...]] = {}
    for axis in dict.fromkeys(axis for values in swept.values() for axis in values):
        there = {values[axis] for values in swept.values()}
        lists = [_sweep_values(overrides.get(axis, overrides.get(value_label(axis), ""))) for overrides in asked]
        axes[axis] = tuple(order_values(there, next((listed for listed in lists if there <= set(listed)), [])))
    place = {axis: {value: order for order, value in enumerate(values)} for axis, values in axes.items()}
    jobs = [replace(job, swept=swept.get(job.name, {})) for job in found]
    jobs.sort(key=lambda job: [place[axis].get(job.swept.get(axis, ""), len(place[axis])) for axis in axes])
    return Sweep(folder, command or kept, axes, tuple(jobs))


def value_label(axis: str) -> str:
    """An axis as it is called on the command line: ``explainer`` for ``explainer.name``."""
    return axis.removesuffix(".name")


def order_values(values: Iterable[str], asked: Sequence[str] = ()) -> list[str]:
    """Values in the order a reader expects: numbered ones by number, else as they were asked, else by name.

    Example:
        >>> ordered({"conv10", "conv2"}), ordered({"lime", "gradcam"}, ["lime", "gradcam"])
        (['conv2', 'conv10'], ['lime', 'gradcam'])
    """
    values = set(values)
    stems = {re.sub(r"\d+", "#", value) for value in values}
    numbered = (len(stems) == 1 and "#" in next(iter(stems))) or all(is_number(value) for value in values)
    if not numbered and values <= set(asked):
        return sorted(values, key=list(asked).index)
    return sorted(values, key=natural_key)


def is_number(text: str) -> bool:
    """Whether a setting's value is a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def natural_key(value: str) -> tuple[Any, ...]:
    """A key that sorts conv2 before conv10, numbers before words, and the input before every layer."""
    if value == "input":
        return (0, ())
    if is_number(value):
        return (1, float(value))
    return (2, [(int(part), "") if part.isdecimal() else (-1, part) for part in re.findall(r"\d+|\D+", value)])


def _is_job(path: Path) -> bool:
    """Whether a folder is a job's; one that was stopped holds at most hidden files, blocks and what a tracker wrote."""
    if not path.is_dir() or path.name.startswith((".", "_")):
        return False
    tells = any((path / name).is_file() for name in ("summary.json", "failure.json"))
    return tells or all(one.name.startswith(".") or one.name in UNFINISHED_MARKS for one in path.iterdir())


def _read_job(folder: Path) -> Job:
    failure, summary = read_json(folder / "failure.json"), read_json(folder / "summary.json")
    # A failure beside an answer is that of asking again.
    if failure or not summary:
        overrides = [str(override) for override in failure.get("overrides", [])]
        command = str(failure.get("command") or (shlex.join(["python", "-m", "fervis", *overrides]) if failure else ""))
        error = str(failure.get("error", ""))
        return Job(folder.name, "failed" if failure else "unfinished", command=command, error=error)
    manifest = read_json(folder / "manifest.json")
    path = folder / "config.yaml"
    config = yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else None
    settings = flatten_config(config) if isinstance(config, dict) else {}
    entries = summary.get("entries", [])
    layer = settings.get("layer")
    layers = layer if isinstance(layer, list) else [layer] if isinstance(layer, str) else []
    layers = [str(one) for one in layers] + [str(entry["layer"]) for entry in entries if entry.get("layer")]
    expanded = ("all", "each", "last_conv")  # words that stand for layers, whose own names the entries tell
    checkpoints = settings.get("checkpoint")
    figure = next(iter(summary.get("figures", [])), {})
    return Job(
        name=folder.name,
        state="answered",
        settings=settings,
        title=str(summary.get("title", "")),
        numbers={name: value for name, value in summary.get("numbers", {}).items() if _finite(value)},
        layers=tuple(name for name in dict.fromkeys(layers) if name not in expanded),
        checkpoints=tuple(Path(str(one)).stem for one in checkpoints) if isinstance(checkpoints, list) else (),
        of_faces=not entries or "label" in entries[0],
        figure=folder / figure["file"] if figure else None,
        caption=str(figure.get("caption", "")),
        command=str(manifest.get("command", "")),
        seconds=sum(manifest["seconds"].values()) if manifest.get("seconds") else None,
        warnings=tuple(map(str, manifest.get("warnings", []))),
        manifest=manifest,
    )


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def read_json(path: Path) -> dict[str, Any]:
    """The file's table; an empty one where there is no file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _command_of(folder: Path) -> str:
    """The command that Hydra kept of a sweep, or an empty string."""
    path = folder / "multirun.yaml"
    kept = yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else None
    if not isinstance(kept, dict):
        return ""
    task = kept.get("hydra", {}).get("overrides", {}).get("task", [])
    return shlex.join(["python", "-m", "fervis", "-m", *map(str, task)])


def _overrides(command: str) -> dict[str, str]:
    """The ``key=value`` words of a command, as they stand there."""
    pairs = (word.partition("=") for word in shlex.split(command) if "=" in word)
    told = {key.lstrip("+~"): value for key, _, value in pairs}
    return {key: value for key, value in told.items() if re.split(r"[./]", key)[0] not in NOT_AXES}


def _sweep_values(value: str) -> list[str]:
    """The values that an override sweeps over, as the jobs name them."""
    return [_parse_value(one) for one in re.split(r",(?![^\[{(]*[\]})])", value)] if value else []


def _parse_value(override: str) -> str:
    """An override's value as ``said`` gives the resolved setting."""
    try:
        value = yaml.safe_load(override.replace("\\", ""))
    except yaml.YAMLError:
        return override
    return (
        format_setting(float(value))
        if isinstance(value, str) and "e" in value and is_number(value)
        else format_setting(value)
    )


def _swept_axes(
    told: Mapping[str, Mapping[str, str]], settings: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, str]]:
    """What differs between jobs: job -> axis -> value.

    First what their commands differ in, in that order; then those settings that still tell apart jobs which agree in
    all that comes before. What follows from another choice, such as an explainer's own settings, is thus no axis.
    """
    swept: dict[str, dict[str, str]] = {name: {} for name in told}
    keys = dict.fromkeys(key for overrides in told.values() for key in overrides)
    for key in keys:
        values = {
            name: _parse_value(overrides[key]) if key in overrides else "none" for name, overrides in told.items()
        }
        if len(set(values.values())) > 1:
            axis, values = _resolve_path(key, values, settings)
            for name, value in values.items():
                swept[name][axis] = value
    answered = [name for name in settings if settings[name]]
    known = dict.fromkeys([*AXIS_ORDER, *(key for name in answered for key in settings[name])])
    for key in known:
        if key.split(".")[0] in NOT_AXES:
            continue
        values = {name: format_setting(settings[name].get(key)) for name in answered}
        groups: dict[tuple[str, ...], set[str]] = {}
        for name, value in values.items():
            groups.setdefault(tuple(swept[name].values()), set()).add(value)
        if any(len(there) > 1 for there in groups.values()):
            for name in swept:
                override = told[name].get(key, told[name].get(value_label(key)))
                swept[name][key] = values.get(name, "?" if override is None else _parse_value(override))
    return swept


def _resolve_path(
    key: str, values: Mapping[str, str], settings: Mapping[str, Mapping[str, Any]]
) -> tuple[str, dict[str, str]]:
    """The axis of an override: the setting that it sets, or itself where it sets many (``trainer=quick``)."""
    for axis in (key, f"{key}.name"):
        if all(axis in one for one in settings.values() if one):
            resolved = {name: format_setting(one[axis]) for name, one in settings.items() if one}
            if axis == key or all(values[name] == value for name, value in resolved.items()):
                return axis, dict(values) | resolved
    return key, dict(values)
