"""The axes of a sweep: settings that differ between its jobs, from their commands and their resolved configs.

Hydra's ``multirun.yaml`` lists the overrides of the sweep as a whole, but a sweep's folder may be filled by several
commands, an override may imply many settings (``trainer=quick``), and ``layer=each`` names no layer. Hence the axes
are read off what the jobs themselves record.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any

import yaml

from fervis.reporting.sweep.jobs import axis_label
from fervis.reporting.sweep.order import is_number
from fervis.reporting.wording import format_setting

_AXIS_ORDER = ("explainer.name", "model.name", "dataset.name", "layer", "target", "checkpoint", "seed")
"""Settings that are tried first as axes where the jobs' commands do not say what was swept."""
NOT_AXES = ("tracker", "device", "threads", "rerun", "quiet", "outputs", "value", "hydra")
"""Settings of how a job ran; they do not change its result."""


def swept_axes(
    overrides: Mapping[str, Mapping[str, str]], settings: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, str]]:
    """Return what differs between jobs: job -> axis -> value.

    First the overrides that differ between the commands, in their order; then those settings that still separate jobs
    which agree in all axes before. What follows from another choice, such as an explainer's own settings, is thus no
    axis.

    Args:
        overrides: job -> the ``key=value`` pairs of its command.
        settings: job -> its resolved config under dotted keys, empty where there is none.
    """
    swept: dict[str, dict[str, str]] = {name: {} for name in overrides}
    for key in dict.fromkeys(key for pairs in overrides.values() for key in pairs):
        values = {name: parse_value(pairs[key]) if key in pairs else "none" for name, pairs in overrides.items()}
        if len(set(values.values())) > 1:
            axis, values = _setting_of_override(key, values, settings)
            for name, value in values.items():
                swept[name][axis] = value
    resolved = {name: flat for name, flat in settings.items() if flat}
    for key in dict.fromkeys([*_AXIS_ORDER, *(key for flat in resolved.values() for key in flat)]):
        values = {name: format_setting(flat.get(key)) for name, flat in resolved.items()}
        if key.split(".")[0] not in NOT_AXES and _separates(values, swept):
            for name, axes in swept.items():
                override = overrides[name].get(key, overrides[name].get(axis_label(key)))
                axes[key] = values.get(name, "?" if override is None else parse_value(override))
    return swept


def command_overrides(command: str) -> dict[str, str]:
    """Return the ``key=value`` words of a command as they are written, without those of how it ran."""
    try:
        words = shlex.split(command)
    except ValueError:  # a quotation that does not end
        words = command.split()
    pairs = (word.partition("=") for word in words if "=" in word)
    overrides = {key.lstrip("+~"): value for key, _, value in pairs}
    return {key: value for key, value in overrides.items() if re.split(r"[./]", key)[0] not in NOT_AXES}


def sweep_values(override: str) -> list[str]:
    """Return the values that an override sweeps over, as the jobs name them.

    Example:
        >>> sweep_values("conv1,[conv2,conv3]")
        ['conv1', 'conv2, conv3']
    """
    return [parse_value(value) for value in re.split(r",(?![^\[{(]*[\]})])", override)] if override else []


def parse_value(override: str) -> str:
    """Return an override's value as ``format_setting`` formats the resolved setting.

    Example:
        >>> parse_value("1e-3"), parse_value("[a,b]")
        ('0.001', 'a, b')
    """
    try:
        value = yaml.safe_load(override.replace("\\", ""))
    except yaml.YAMLError:
        return override
    # YAML 1.1 reads 1e-3, without a point, as a string.
    return format_setting(float(value) if isinstance(value, str) and "e" in value and is_number(value) else value)


def _separates(values: Mapping[str, str], swept: Mapping[str, Mapping[str, str]]) -> bool:
    """Return whether a setting differs between jobs that agree in every axis so far."""
    groups: dict[tuple[str, ...], set[str]] = {}
    for name, value in values.items():
        groups.setdefault(tuple(swept[name].values()), set()).add(value)
    return any(len(group) > 1 for group in groups.values())


def _setting_of_override(
    key: str, values: Mapping[str, str], settings: Mapping[str, Mapping[str, Any]]
) -> tuple[str, dict[str, str]]:
    """Return the setting that an override sets, or the override itself where it sets many (``trainer=quick``)."""
    for axis in (key, f"{key}.name"):
        if all(axis in flat for flat in settings.values() if flat):
            resolved = {name: format_setting(flat[axis]) for name, flat in settings.items() if flat}
            if axis == key or all(values[name] == value for name, value in resolved.items()):
                return axis, dict(values) | resolved
    return key, dict(values)
