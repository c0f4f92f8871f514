"""Read the files of a run folder without trusting them: truncated JSON, figures outside the folder."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

IMAGE_TYPES = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".gif": "gif", ".webp": "webp", ".svg": "svg+xml"}
"""Endings of figures that a page may show, and their types as in ``image/png``."""


def read_json_object(path: Path) -> tuple[dict[str, Any], str]:
    """Read a JSON object.

    Returns:
        The object and an empty string. Where there is no file, an empty object; where the file is damaged, an empty
        object and one sentence that names the file.
    """
    if not path.is_file():
        return {}, ""
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        return {}, f"{path.parent.name}/{path.name} is damaged: expected JSON, got {error}."
    if not isinstance(table, dict):
        return {}, f"{path.parent.name}/{path.name} is damaged: expected a JSON object, got a {type(table).__name__}."
    return table, ""


def read_config(folder: Path) -> tuple[str, dict[str, Any], str]:
    """Read ``config.yaml`` of a run folder: its text, its settings, and one sentence where it is damaged."""
    path = folder / "config.yaml"
    if not path.is_file():
        return "", {}, ""
    text = ""
    try:
        text = path.read_text(encoding="utf-8")
        config = yaml.safe_load(text)
    except (UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        first = str(error).splitlines()[0]
        return text, {}, f"{path.parent.name}/{path.name} is damaged: expected YAML, got {first}."
    return text, config if isinstance(config, dict) else {}, ""


def table_of(record: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return the table that a record holds under a key; an empty one where there is none."""
    value = record.get(key)
    return value if isinstance(value, dict) else {}


def tables_of(record: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """Return the tables that a record lists under a key."""
    value = record.get(key)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def texts_of(record: Mapping[str, Any], key: str) -> list[str]:
    """Return the words that a record lists under a key."""
    value = record.get(key)
    return [str(item) for item in value] if isinstance(value, list) else []


def finite_numbers(table: Mapping[str, Any]) -> dict[str, float]:
    """Return the entries of a table that are finite numbers."""
    return {name: value for name, value in table.items() if isinstance(value, int | float) and math.isfinite(value)}


def figure_path(folder: Path, name: object) -> Path | None:
    """Return the path of a figure that ``summary.json`` names, or None where it is no image file inside the folder.

    A name that is absolute, climbs up or leads out by a link is refused, as is anything but a regular file of a known
    image type: a summary may come from elsewhere, and a page embeds what it names.
    """
    path = PurePosixPath(str(name))
    if path.is_absolute() or ".." in path.parts or path.suffix.lower() not in IMAGE_TYPES:
        return None
    figure = folder / path
    try:
        inside = figure.resolve().is_relative_to(folder.resolve())
        return figure if inside and figure.is_file() else None
    except (OSError, ValueError, RuntimeError):  # a name too long, one that holds a zero byte, a loop of links
        return None


def data_uri(data: bytes, ending: str) -> str:
    """Return an image as a data URI; ``ending`` is one of ``IMAGE_TYPES``."""
    return f"data:image/{IMAGE_TYPES[ending.lower()]};base64,{base64.b64encode(data).decode()}"
