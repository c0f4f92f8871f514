"""What was mistyped: Hydra's composition errors as one sentence with the nearest known name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from importlib.metadata import distributions
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fervis.core.registry import CONF_FOLDER, KINDS, option_files, option_settings, preset_files
from fervis.errors import ConfigError, nearest_name, unknown_name
from fervis.runs.config import RunConfig

# Flags of Hydra's whose next word is their value.
FLAGS_WITH_VALUES = ("--cfg", "-c", "--package", "-p", "--info", "-i", "--config-name", "-cn", "--config-dir", "-cd")
LAUNCHERS = {
    "joblib": ("hydra-joblib-launcher", "launchers"),
    "slurm": ("hydra-submitit-launcher", "launchers"),
    "submitit_local": ("hydra-submitit-launcher", "launchers"),
    "submitit_slurm": ("hydra-submitit-launcher", "launchers"),
    "ray": ("hydra-ray-launcher", "ray"),
}
"""Hydra's launchers: the package of each, and the extra that brings it."""
EXPECTED_TYPES = {"int": "a whole number", "bool": "true or false", "float": "a number", "str": "a word"}


def explain_config_error(arguments: Sequence[str], error: Exception, commands: Iterable[str] = ()) -> str:
    """The sentence for a question that Hydra would not compose: value, what was expected, nearest name.

    Args:
        arguments: the command line.
        error: Hydra's own error, quoted where nothing better is found.
        commands: the words that are not overrides, such as ``list``.
    """
    cause: BaseException | None = error
    while cause is not None:  # a resolver's own refusal is wrapped by OmegaConf
        if isinstance(cause, ConfigError):
            return str(cause)
        cause = cause.__cause__ or cause.__context__
    for before, argument in zip(["", *arguments], arguments, strict=False):
        if argument.startswith(("-", "~")) or before in FLAGS_WITH_VALUES:
            continue
        if "=" not in argument:
            return f"{argument}: expected key=value, or one of {', '.join(commands)}.{nearest_name(argument, commands)}"
        try:
            override = OverridesParser.create().parse_override(argument)
        except (HydraException, OmegaConfBaseException) as unreadable:
            return f"{argument}: cannot be read as key=value ({str(unreadable).splitlines()[0]})."
        sentence = (
            _launcher_error(override) or _group_error(override) or _key_of(override, arguments) or _type_error(override)
        )
        if sentence:
            return sentence
    return " ".join(str(error).split()) or type(error).__name__


def _list_values(override: Override) -> Iterator[Any]:
    """The values of an override, those of a sweep one by one; a glob can match nothing wrong."""
    if override.is_choice_sweep():
        yield from override.sweep_iterator(transformer=lambda value: value)
    elif not override.is_sweep_override():
        yield override.value()


def _known_keys(group: str) -> list[str]:
    return list(preset_files()) if group == "experiment" else list(option_files(group))


def _launcher_error(override: Override) -> str | None:
    """A launcher that does not exist, or whose package is not installed."""
    name = str(override.value()) if override.key_or_group == "hydra/launcher" else "basic"
    if name not in ("basic", *LAUNCHERS):
        return str(unknown_name("hydra/launcher", name, ["basic", *LAUNCHERS]))
    package, extra = LAUNCHERS.get(name, ("hydra-core", ""))
    if not any(distributions(name=package)):
        return f"hydra/launcher={name}: it needs a package that pip install 'fervis[{extra}]' brings."
    return None


def _group_error(override: Override) -> str | None:
    group = override.key_or_group
    if group not in (*KINDS, "experiment"):
        return None
    for value in _list_values(override):
        if isinstance(value, str) and value not in _known_keys(group):
            return str(unknown_name(group, value, _known_keys(group)))
    return None


def _key_of(override: Override, arguments: Sequence[str]) -> str | None:
    """A key that no setting has; ``+key`` may add one to a network's or plug-in's own settings."""
    key = override.key_or_group
    top, _, rest = key.partition(".")
    keys = [f.name for f in fields(RunConfig)]
    if top in ("hydra", "experiment") or key.startswith("hydra/"):
        return None
    if top not in keys:
        where = [f"{kind}.{top}" for kind in KINDS if top in _settings_of(kind, arguments)]
        hint = f" Did you mean {where[0]}?" if where else nearest_name(top, [*keys, "experiment"])
        return f"{key}: there is no such key.{hint} Known: {', '.join([*keys, 'experiment'])}."
    if top in KINDS and rest and not override.is_add():
        known = _settings_of(top, arguments)
        first = rest.split(".")[0]
        if first not in known:
            return f"{key}: there is no such setting.{nearest_name(first, known)} Known: {', '.join(known)}."
    return None


def _settings_of(kind: str, arguments: Sequence[str]) -> list[str]:
    """The settings of the option of this kind that the command line chooses."""
    chosen = [argument.partition("=")[2] for argument in arguments if argument.partition("=")[0] == kind]
    name = chosen[-1] if chosen else _defaults_error()[kind]
    return [str(key) for key in option_settings(kind, name)] if name in option_files(kind) else []


def _defaults_error() -> dict[str, str]:
    """The options that the default question chooses."""
    listed = OmegaConf.to_container(OmegaConf.load(CONF_FOLDER / "config.yaml"))
    assert isinstance(listed, dict)
    return {kind: name for entry in listed["defaults"] if isinstance(entry, dict) for kind, name in entry.items()}


def _type_error(override: Override) -> str | None:
    kinds = {f.name: str(f.type) for f in fields(RunConfig)}
    expected = EXPECTED_TYPES.get(kinds.get(override.key_or_group, ""))
    for value in _list_values(override):
        try:
            OmegaConf.merge(OmegaConf.structured(RunConfig), {override.key_or_group: value})
        except (OmegaConfBaseException, ValueError):
            if expected:
                return f"{override.key_or_group}={value}: expected {expected}."
    return None
