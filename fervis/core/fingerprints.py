"""Settings of plug-ins by content: every path replaced by a hash of its content, with the plug-in's version."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

from fervis.core.registry import build_plugin, foreign_plugin, plugin_modules
from fervis.errors import unknown_name
from fervis.system.hashing import content_hash

PATH_KNOB = re.compile(r"(.*_)?(path|file|folder|votes|checkpoint|start)")
KINDS_WITH_FILES = ("dataset", "model")  # kinds whose plug-ins list the files they read


def plugin_fingerprint(kind: str, settings: Mapping[str, Any], cache: Path) -> dict[str, Any]:
    """Return plain data that is equal for two settings only where plug-ins of them compute the same.

    Args:
        kind: such as ``model``.
        settings: of the plug-in, its name included.
        cache: folder that remembers the hashes of files.

    Raises:
        ConfigError: there is no such plug-in, or it refuses its settings.
    """
    name = str(settings["name"])
    contents = {key: path_content(value, cache) for key, value in settings.items() if _names_path(key, value)}
    return {
        "settings": {**settings, **contents},
        "files": _other_files(kind, name, settings, cache),
        "version": plugin_version(kind, name, cache),
    }


def path_content(path: str, cache: Path) -> dict[str, str]:
    """Return the hash of a file or folder; where it is missing its path, which its reader will refuse."""
    resolved = Path(path).expanduser()
    return {"sha256": content_hash(resolved, cache)} if resolved.exists() else {"missing": path}


def plugin_version(kind: str, name: str, cache: Path) -> Any:
    """Return what changes with the code of a plug-in: hashes of its source, and the version of a foreign package.

    Raises:
        ConfigError: there is no such plug-in.
    """
    if modules := plugin_modules(kind, name):
        return [content_hash(path, cache) for path in modules]
    point = foreign_plugin(kind, name)
    package = point.dist and f"{point.dist.name} {point.dist.version}"
    return [package, *(content_hash(path, cache) for path in _source_files(point))]


def _names_path(key: str, value: Any) -> bool:
    return isinstance(value, str) and bool(value) and PATH_KNOB.fullmatch(key) is not None


def _other_files(kind: str, name: str, settings: Mapping[str, Any], cache: Path) -> list[tuple[str, dict[str, str]]]:
    """Names and hashes of the files that only the plug-in itself can list: imported modules, files of foreign ones."""
    code = kind == "model" and {"path", "module"} & {*settings}  # the plug-in lists what its Python file imports
    if kind not in KINDS_WITH_FILES or (plugin_modules(kind, name) and not code):
        return []
    files = build_plugin(kind, settings).files()
    return sorted((path.name, path_content(str(path), cache)) for path in files)


def _source_files(point: EntryPoint) -> list[Path]:
    """Return the file of a foreign plug-in's module, which changes without its version while its author works on it."""
    try:
        spec = importlib.util.find_spec(point.module)
    except ImportError as error:
        raise unknown_name(point.group, point.name, []) from error
    origin = spec and spec.origin
    return [Path(origin)] if origin and Path(origin).is_file() else []
