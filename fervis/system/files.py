"""Files that are complete or absent: everything fervis writes goes to a temporary name first and is renamed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fervis.errors import RunError

# A run folder holds these until it is complete; neither torch nor Hydra is needed to check for them.
STAGING_FOLDER = ".partial"
CHUNKS_FOLDER = "blocks"
CHUNKS_METADATA = f"{CHUNKS_FOLDER}/about.json"


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``path`` to write to; rename it to ``path`` on success, else remove it.

    The temporary name keeps the suffix, since many writers choose the format by it. Two processes that write the same
    path at once do not interfere: the last one wins, with a complete file. The file gets the mode that the umask gives
    to a new file, whatever its writer does (safetensors makes files that only their owner can read).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        partial.touch()
        mode = partial.stat().st_mode & 0o777
        partial.unlink()
        yield partial
        partial.chmod(mode)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, completely or not at all."""
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, data: Any) -> None:
    """Write plain data as JSON, completely or not at all."""
    write_text(path, json.dumps(data, indent=1) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file that fervis wrote.

    Raises:
        RunError: the file cannot be read, or does not hold a JSON object; the message names the file.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RunError(f"{path}: there is no such file.") from error
    except OSError as error:
        raise RunError(f"{path}: it cannot be read ({error.strerror or error}).") from error
    except ValueError as error:  # JSON and UTF-8 alike
        raise RunError(f"{path}: it is damaged, expected JSON ({error}).") from error
    if not isinstance(data, dict):
        raise RunError(f"{path}: it is damaged, expected a JSON object.")
    return data
