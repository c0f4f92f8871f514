"""Overrides as users type them: written as Hydra's grammar reads them, and checked before anything is composed."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fervis.core.registry import KINDS, conf_folders, option_files, preset_files
from fervis.errors import ConfigError, nearest_name, unknown_name

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

PATH_KEYS = ("path", "checkpoint", "start", "votes", "outputs")
"""Last parts of keys whose value can be a file or folder."""
PART_KINDS = ("explainer", "visualizer")
"""Kinds that differ between the parts of a study, so that a setting concerns only those parts that have it."""
_CODE = re.compile(r"_target_|^[+~]*hydra[./]callbacks\b|^[+~]*hydra[./](job_logging|hydra_logging)\b.*\(\)")


def parse_override(override: str) -> Override | None:
    """Return an override as Hydra reads it, or None where its grammar does not."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    try:
        return OverridesParser.create().parse_override(override)
    except (HydraException, OmegaConfBaseException):
        return None


def as_list(overrides: str | Sequence[str]) -> list[str]:
    """Return overrides as a list; a single text is split as a shell would.

    Example:
        >>> as_list("explainer=saliency layer=conv7")
        ['explainer=saliency', 'layer=conv7']
    """
    return shlex.split(overrides) if isinstance(overrides, str) else list(overrides)


def prepare_overrides(overrides: Sequence[str]) -> list[str]:
    """Return the overrides as Hydra can read them: paths quoted, settings of a study's parts added to it."""
    study = any(_is_study(override) for override in overrides)
    quoted = [quote_path(override) for override in overrides]
    return [f"++{override}" if study and _is_part_setting(override) else override for override in quoted]


def quote_path(override: str) -> str:
    """Return an override whose path Hydra's grammar does not read with the path quoted; others as they are.

    Of a sweep, ``a(1).png,b.png``, each path is quoted that needs it, unless there is a file of the whole name.

    Example:
        >>> quote_path("dataset.path=me(1).png")
        "dataset.path='me(1).png'"
    """
    key, equals, value = override.partition("=")
    if not equals or key.rpartition(".")[2] not in PATH_KEYS or value[:1] in "[{" or parse_override(override):
        return override
    several = "," in value and not Path(value).exists()
    return f"{key}={','.join(map(_quoted, value.split(',')) if several else [_quoted(value)])}"


def _quoted(path: str) -> str:
    if path and parse_override(f"key={path}"):
        return path
    # Within quotes only quotes are special, and the backslashes right before one.
    return "'" + re.sub(r"(\\*)'", r"\1\1\\'", re.sub(r"(\\+)$", r"\1\1", path)) + "'"


def _is_study(override: str) -> bool:
    """Whether an override chooses a preset that has parts."""
    key, _, name = override.partition("=")
    path = preset_files().get(name) if key.lstrip("+") == "experiment" else None
    return path is not None and re.search(r"^parts:", path.read_text("utf-8"), re.MULTILINE) is not None


def _is_part_setting(override: str) -> bool:
    return override.startswith(tuple(f"{kind}." for kind in PART_KINDS))


def check_overrides(overrides: Iterable[str], *, multirun: bool = True) -> None:
    """Check what Hydra would accept and no run could use.

    Args:
        overrides: of a run or a sweep.
        multirun: whether several values are a sweep.

    Raises:
        ConfigError: an override names code to run, deletes a kind, adds a key that nothing reads, chooses no option by
            name, or has several values without ``-m``.
    """
    for text in overrides:
        if _CODE.search(text):
            raise ConfigError(f"{text}: it names Python code to run, which fervis does not do.")
        override = parse_override(text)
        if override is not None:
            for check in (_check_deletion, _check_addition, _check_sweep, _check_choice):
                check(text, override, multirun)


def _check_deletion(text: str, override: Override, _multirun: bool) -> None:
    key = override.key_or_group
    if not override.is_delete() or key == "experiment":
        return
    if key in KINDS:
        neutral = f", such as {key}=none" if "none" in option_files(key) else ""
        raise ConfigError(f"{text}: every question has {key}=; choose one{neutral}.")
    if key in top_level_keys():
        raise ConfigError(f"{text}: every question has {key}=; leave it away for its default.")


def _check_addition(text: str, override: Override, _multirun: bool) -> None:
    top = override.key_or_group.partition(".")[0].partition("/")[0]
    known = [*top_level_keys(), "experiment", "hydra"]
    added = override.is_add() or override.is_force_add()
    if added and top not in known and not any((folder / top).is_dir() for folder in conf_folders()):
        raise ConfigError(f"{text}: there is no such key.{nearest_name(top, known)} Known: {', '.join(known)}.")


def _check_sweep(text: str, override: Override, multirun: bool) -> None:
    from hydra.core.override_parser.types import Glob

    if not override.is_sweep_override():
        return
    key = override.key_or_group
    if key.startswith("hydra"):
        raise ConfigError(f"{text}: settings of Hydra's own cannot be swept.")
    if not multirun:
        raise ConfigError(f"{text}: several values make a sweep, a run for each; ask with -m (--multirun).")
    glob = override.value()
    if isinstance(glob, Glob):
        if key not in KINDS:
            hint = ", or layer=each for every layer" if key == "layer" else ""
            raise ConfigError(f"{text}: glob() chooses among options of {', '.join(KINDS)}; expected a list{hint}.")
        if not glob.filter(list(option_files(key))):
            raise unknown_name(key, text.partition("=")[2], option_files(key))


def _check_choice(text: str, override: Override, _multirun: bool) -> None:
    key = override.key_or_group
    kind, dot, setting = key.partition(".")
    if setting == "name" and kind in KINDS and not isinstance(override.value(), str):
        raise ConfigError(f"{text}: expected the name of one {kind}.")
    optional = kind in ("experiment", "evidence")
    if dot or override.is_delete() or kind not in (*KINDS, "experiment") or (optional and _null(override)):
        return
    known = preset_files() if kind == "experiment" else option_files(kind)
    for value in list_values(override):
        several = optional and isinstance(value, list)
        for name in value if several else [value]:
            if not isinstance(name, str) or name not in known:
                raise unknown_name(kind, "null" if name is None else name, known)


def _null(override: Override) -> bool:
    return not override.is_sweep_override() and override.value() is None


def list_values(override: Override) -> Iterator[Any]:
    """Yield the values of an override, those of a sweep one by one; none for a glob, which is checked separately."""
    if override.is_choice_sweep():
        yield from override.sweep_iterator(transformer=lambda value: value)
    elif not override.is_sweep_override():
        yield override.value()


@cache
def top_level_keys() -> tuple[str, ...]:
    """Return the keys of a question, in the order of ``RunConfig``."""
    from dataclasses import fields

    from fervis.runs.config import RunConfig

    return tuple(field.name for field in fields(RunConfig))
