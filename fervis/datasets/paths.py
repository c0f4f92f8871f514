"""Check paths that a config names."""

from __future__ import annotations

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
