"""Explain Hydra's composition errors in one sentence with the nearest known name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from importlib.metadata import distributions

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fervis.core.registry import CONF_FOLDER, KINDS, option_files, option_settings, preset_files
from fervis.errors import ConfigError, nearest_name, unknown_name
from fervis.runs.config import RunConfig
from fervis.runs.overrides import list_values, prepare_overrides
from fervis.system.distribution import install_command

LAUNCHERS = {
    "joblib": ("hydra-joblib-launcher", "launchers"),
    "slurm": ("hydra-submitit-launcher", "launchers"),
    "submitit_local": ("hydra-submitit-launcher", "launchers"),
    "submitit_slurm": ("hydra-submitit-launcher", "launchers"),
    "ray": ("hydra-ray-launcher", "ray"),
}
"""Hydra's launchers: the package of each, and the extra that installs it."""
EXPECTED_TYPES = {"int": "a whole number", "bool": "true or false", "float": "a number", "str": "a word"}


def explain_config_error(arguments: Sequence[str], error: Exception, commands: Iterable[str] = ()) -> str:
    """Return one sentence for a config that Hydra could not compose: the value, what was expected, the nearest name.

    Args:
        arguments: overrides, and flags with their values.
        error: Hydra's own error, quoted where nothing better is known.
        commands: the words that are not overrides, such as ``list``.
    """
    cause: BaseException | None = error
    while cause is not None:  # a resolver's own refusal is wrapped by OmegaConf
        if isinstance(cause, ConfigError):
            return str(cause)
        cause = cause.__cause__ or cause.__context__
    arguments = prepare_overrides(arguments)
    for index, argument in enumerate(arguments):
        before = arguments[index - 1] if index else ""
        if argument.startswith(("-", "~")) or (before.startswith("-") and "=" not in argument):
            continue
        if sentence := _blank_error(arguments[index:]):
            return sentence
        if "=" not in argument:
            return f"{argument}: expected key=value, or one of {', '.join(commands)}.{nearest_name(argument, commands)}"
        try:
            override = OverridesParser.create().parse_override(argument)
        except (HydraException, OmegaConfBaseException) as unreadable:
            return f"{argument}: cannot be read as key=value ({str(unreadable).splitlines()[0]})."
        sentence = (
            _launcher_error(override)
            or _group_error(override)
            or _key_error(override, arguments)
            or _type_error(override)
        )
        if sentence:
            return sentence
    return " ".join(str(error).split()) or type(error).__name__


def _blank_error(arguments: Sequence[str]) -> str | None:
    """Explain a list that the shell has split at its blanks, such as ``faces=[10, 20]``."""
    for opened, closed in ("[]", "{}"):
        first = arguments[0]
        if "=" in first and first.count(opened) > first.count(closed):
            ends = (end for end, word in enumerate(arguments) if end and word.endswith(closed))
            if (end := next(ends, None)) is not None:
                words = arguments[: end + 1]
                return f"{' '.join(words)}: the shell splits this at its blanks; ask with '{''.join(words)}'."
    return None


def _known_names(group: str) -> list[str]:
    return list(preset_files()) if group == "experiment" else list(option_files(group))


def _launcher_error(override: Override) -> str | None:
    """Explain a launcher that does not exist, or whose package is not installed."""
    name = str(override.value()) if override.key_or_group == "hydra/launcher" else "basic"
    if name not in ("basic", *LAUNCHERS):
        return str(unknown_name("hydra/launcher", name, ["basic", *LAUNCHERS]))
    package, extra = LAUNCHERS.get(name, ("hydra-core", ""))
    if not any(distributions(name=package)):
        return f"hydra/launcher={name}: it needs a package that {install_command(extra)} brings."
    return None


def _group_error(override: Override) -> str | None:
    group = override.key_or_group
    if group not in (*KINDS, "experiment"):
        return None
    for value in list_values(override):
        if isinstance(value, str) and value not in _known_names(group):
            return str(unknown_name(group, value, _known_names(group)))
    return None


def _key_error(override: Override, arguments: Sequence[str]) -> str | None:
    """Explain a key that no setting has; ``+key`` may add one to a network's or plug-in's own settings."""
    key = override.key_or_group
    top, _, rest = key.partition(".")
    keys = [field.name for field in fields(RunConfig)]
    if top in ("hydra", "experiment") or key.startswith("hydra/"):
        return None
    if top not in keys:
        owners = [f"{kind}.{top}" for kind in KINDS if top in _settings_of(kind, arguments)]
        hint = f" Did you mean {owners[0]}?" if owners else nearest_name(top, [*keys, "experiment"])
        return f"{key}: there is no such key.{hint} Known: {', '.join([*keys, 'experiment'])}."
    if top in KINDS and rest and not override.is_add() and not override.is_force_add():
        known = _settings_of(top, arguments)
        first = rest.split(".")[0]
        if first not in known:
            return f"{key}: there is no such setting.{nearest_name(first, known)} Known: {', '.join(known) or 'none'}."
    return None


def _settings_of(kind: str, arguments: Sequence[str]) -> list[str]:
    """Return the settings of the option of a kind that is chosen; none for a kind without a choice or default."""
    chosen = [argument.partition("=")[2] for argument in arguments if argument.partition("=")[0] == kind]
    name = chosen[-1] if chosen else _default_options().get(kind)
    if not isinstance(name, str) or name not in option_files(kind):
        return []
    return [str(key) for key in option_settings(kind, name)]


def _default_options() -> dict[str, str]:
    """Return the option of each kind that the default config chooses; kinds that plug-ins add may have none."""
    config = OmegaConf.to_container(OmegaConf.load(CONF_FOLDER / "config.yaml"))
    assert isinstance(config, dict)
    return {kind: name for entry in config["defaults"] if isinstance(entry, dict) for kind, name in entry.items()}


def _type_error(override: Override) -> str | None:
    types = {field.name: str(field.type) for field in fields(RunConfig)}
    expected = EXPECTED_TYPES.get(types.get(override.key_or_group, ""))
    for value in list_values(override):
        try:
            OmegaConf.merge(OmegaConf.structured(RunConfig), {override.key_or_group: value})
        except (OmegaConfBaseException, ValueError):
            if expected:
                return f"{override.key_or_group}={value}: expected {expected}."
    return None
