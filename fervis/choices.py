"""Settings and what each means, from the YAML files alone: for ``--help`` and for completion, which cannot wait."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from fervis.registry import CONF, options

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same, several times as fast
UNTOLD = ("defaults", "hydra", "parts")
"""Keys of ``config.yaml`` that nobody types."""

Told = dict[str, tuple[Any, str]]


def taken() -> dict[str, str]:
    """The option of each kind that is taken where nothing is said."""
    listed = read(CONF / "config.yaml")["defaults"]
    return {kind: name for entry in listed if isinstance(entry, dict) for kind, name in entry.items()}


def question_settings() -> Told:
    """Each setting of the question itself, with its value and what it means."""
    path = CONF / "config.yaml"
    return _told({key: value for key, value in read(path).items() if key not in UNTOLD}, commented(path))


def option_settings(kind: str, name: str) -> Told:
    """Each setting of an option, with its value and what it means; those of the options it starts from included."""
    path = options(kind).get(name)
    if path is None:
        return {}
    own = dict(read(path))
    found: Told = {}
    for base in own.pop("defaults", []):
        if isinstance(base, str) and base != "_self_":
            found |= option_settings(kind, base)
    notes = {key: note for key, (_, note) in found.items()} | commented(path)
    return found | _told({key: value for key, value in own.items() if key != "name"}, notes)


def _told(values: Mapping[str, Any], notes: Mapping[str, str]) -> Told:
    return {key: (value, notes.get(key, "")) for key, value in values.items()}


def commented(path: Path) -> dict[str, str]:
    """``key -> comment`` of the unindented lines ``key: value  # comment`` of a YAML file."""
    lines = path.read_text(encoding="utf-8").splitlines()
    found = (re.fullmatch(r"(\w+):.*?\s#\s*(.*)", line) for line in lines)
    return {match[1]: match[2] for match in found if match}


@cache
def read(path: Path) -> dict[str, Any]:
    """A YAML file as plain data."""
    return yaml.load(path.read_text(encoding="utf-8"), LOADER)
