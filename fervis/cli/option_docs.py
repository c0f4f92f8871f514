"""Settings and what each means, from the YAML files alone: for ``--help`` and for completion, which cannot wait."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from fervis.core.registry import CONF_FOLDER, option_files

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same, several times as fast
HIDDEN_SETTINGS = ("defaults", "hydra", "parts")
"""Keys of ``config.yaml`` that nobody types."""

SettingDocs = dict[str, tuple[Any, str]]


def default_settings() -> dict[str, str]:
    """Return the default option of each kind."""
    listed = read_yaml(CONF_FOLDER / "config.yaml")["defaults"]
    return {kind: name for entry in listed if isinstance(entry, dict) for kind, name in entry.items()}


def config_setting_docs() -> SettingDocs:
    """Each setting of the question itself, with its value and what it means."""
    path = CONF_FOLDER / "config.yaml"
    return _setting_docs(
        {key: value for key, value in read_yaml(path).items() if key not in HIDDEN_SETTINGS}, setting_comments(path)
    )


def option_setting_docs(kind: str, name: str) -> SettingDocs:
    """Each setting of an option, with its value and what it means; those of the options it starts from included."""
    path = option_files(kind).get(name)
    if path is None:
        return {}
    own = dict(read_yaml(path))
    found: SettingDocs = {}
    for base in own.pop("defaults", []):
        if isinstance(base, str) and base != "_self_":
            found |= option_setting_docs(kind, base)
    notes = {key: note for key, (_, note) in found.items()} | setting_comments(path)
    return found | _setting_docs({key: value for key, value in own.items() if key != "name"}, notes)


def _setting_docs(values: Mapping[str, Any], notes: Mapping[str, str]) -> SettingDocs:
    return {key: (value, notes.get(key, "")) for key, value in values.items()}


def setting_comments(path: Path) -> dict[str, str]:
    """``key -> comment`` of the unindented lines ``key: value  # comment`` of a YAML file."""
    lines = path.read_text(encoding="utf-8").splitlines()
    found = (re.fullmatch(r"(\w+):.*?\s#\s*(.*)", line) for line in lines)
    return {match[1]: match[2] for match in found if match}


@cache
def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file as plain data."""
    return yaml.load(path.read_text(encoding="utf-8"), LOADER)
