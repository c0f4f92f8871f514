"""Hashes of files, folders and plain data: the names under which everything derived from them is stored."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from fervis.system.files import write_text

# A file that changed this recently could change again within one tick of the file system's clock, unseen by `stat`.
_SETTLED_NS = 50_000_000


def digest(data: Any, length: int = 64) -> str:
    """Return the first hex digits of the SHA-256 of plain data, written as JSON with sorted keys.

    Example:
        >>> digest({"layer": "conv7", "seed": 0}, 8)
        '567bb783'
    """
    text = json.dumps(data, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:length]


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_hash(path: Path, cache: Path) -> str:
    """Return 64 hex digits that identify the content of ``path``, independent of its place and time.

    A file gives the SHA-256 of its bytes; a folder the SHA-256 over the relative path and SHA-256 of each file below
    it, in sorted order. Hidden names (a leading dot) count for nothing; links are followed. A small record in
    ``cache`` remembers the hash with the size and times of every file, so that what did not change is not read again;
    where ``cache`` cannot be written, every call reads the files.

    Raises:
        FileNotFoundError: where there is neither file nor folder.
    """
    signature, newest = _signature(_list_files(path))
    record = _record(path, cache)
    if saved := _remembered(record, signature):
        return saved
    settled = time.time_ns() - newest > _SETTLED_NS
    hashed = _folder_hash(path) if path.is_dir() else file_hash(path)
    if settled and _signature(_list_files(path))[0] == signature:
        _remember(record, path, signature, hashed)
    return hashed


def damaged_files(folder: Path, hashes: Mapping[str, str], cache: Path) -> list[str]:
    """Return the names of the files that no longer hold what their hashes say, missing ones included.

    A record in ``cache`` remembers a folder that was intact with the size and times of its files, so that what did not
    change since is not read again.

    Args:
        folder: of the files.
        hashes: relative path -> SHA-256.
        cache: folder of the records.
    """
    missing = [name for name in hashes if not (folder / name).is_file()]
    if missing:
        return missing
    signature, newest = _signature((name, (folder / name).stat()) for name in sorted(hashes))
    record, expected = _record(folder, cache, "intact"), digest(hashes)
    if _remembered(record, signature) == expected:
        return []
    settled = time.time_ns() - newest > _SETTLED_NS
    damaged = [name for name, expect in hashes.items() if file_hash(folder / name) != expect]
    if settled and not damaged:
        _remember(record, folder, signature, expected)
    return damaged


def forget_hash(path: Path, cache: Path) -> None:
    """Remove the record that ``content_hash`` has of ``path``, if there is one."""
    with suppress(OSError):
        _record(path, cache).unlink(missing_ok=True)


def files_below(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Relative path (``/`` between its parts) and ``stat`` of each file below, sorted; see ``content_hash``."""
    return iter(sorted(_walk(str(folder), "", frozenset()), key=lambda entry: entry[0]))


def _walk(folder: str, prefix: str, above: frozenset[str]) -> Iterator[tuple[str, os.stat_result]]:
    real = os.path.realpath(folder)
    if real in above:  # a link to a folder above: a circle
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield from _walk(entry.path, f"{prefix}{entry.name}/", above | {real})
            elif entry.is_file():
                yield prefix + entry.name, entry.stat()


def _list_files(path: Path) -> Iterator[tuple[str, os.stat_result]]:
    return files_below(path) if path.is_dir() else iter([("", path.stat())])


def _signature(files: Iterable[tuple[str, os.stat_result]]) -> tuple[str, int]:
    """Hex digits over the sizes and times of the files, and the newest time of change (ns since the epoch)."""
    files = list(files)
    lines = "\n".join(f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}\0{stat.st_ctime_ns}" for name, stat in files)
    newest = max((stat.st_ctime_ns for _, stat in files), default=0)
    return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest(), newest


def _record(path: Path, cache: Path, kind: str = "content") -> Path:
    return cache / f"{kind}-{hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:16]}.json"


def _remembered(record: Path, signature: str) -> str | None:
    """Return the hash that a record holds for files of this signature."""
    try:
        saved = json.loads(record.read_text(encoding="utf-8"))
        return str(saved["sha256"]) if saved["signature"] == signature else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _remember(record: Path, path: Path, signature: str, sha256: str) -> None:
    saved = {"path": str(path.resolve()), "signature": signature, "sha256": sha256}
    with suppress(OSError):  # of outputs that others own: the files are read again
        write_text(record, json.dumps(saved, indent=1) + "\n")


def _folder_hash(folder: Path) -> str:
    hashed = hashlib.sha256()
    for name, _ in files_below(folder):
        hashed.update(f"{name}\0{file_hash(folder / name)}\n".encode("utf-8", "surrogateescape"))
    return hashed.hexdigest()
