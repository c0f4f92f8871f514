"""Check paths that a config names, and search the folders below them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from fervis.errors import ConfigError, nearest_name


def existing_path(path: str, key: str) -> Path:
    """Return the file or folder that the knob ``key`` names, ``~`` resolved.

    Raises:
        ConfigError: where the knob is empty or there is no such file or folder; the sentence gives the nearest name.
    """
    if not path:
        raise ConfigError(f"{key} is empty: say where the data is with {key}=<file or folder>.")
    existing = Path(path).expanduser()
    if existing.exists():
        return existing
    missing = existing
    while not missing.parent.exists():
        missing = missing.parent
    try:
        siblings = [entry.name for entry in missing.parent.iterdir()]
    except OSError:
        siblings = []
    inside = "" if missing == existing else f"; {missing.parent} holds no {missing.name}"
    raise ConfigError(f"{key}={path}: there is no such file or folder{inside}.{nearest_name(missing.name, siblings)}")


def first_below(root: Path, accepts: Callable[[Path], bool], depth: int = 3) -> Path | None:
    """Return the nearest file or folder below ``root`` that is accepted, ``root`` first; None where there is none.

    Folders are searched level by level, names in order; hidden names count for nothing.
    """
    level = [root]
    for remaining in range(depth, -1, -1):
        for path in level:
            if accepts(path):
                return path
        level = [Path(entry) for path in level if path.is_dir() for entry in _visible(path)] if remaining else []
    return None


def layout_error(path: str, title: str, expected: str) -> ConfigError:
    """Return the error of a folder that holds none of the layouts of a data set."""
    return ConfigError(f"dataset.path={path}: no layout of {title} is here or three folders deep; expected {expected}.")


def _visible(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(entry.path for entry in entries if not entry.name.startswith("."))
