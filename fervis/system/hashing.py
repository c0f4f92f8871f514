"""What a file or folder holds, as a hash: the name under which everything derived from it is kept."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

from fervis.system.files import write_text

_CHUNK = 1 << 20
# A file that changed this recently could change again within one tick of the file system's clock, unseen by `stat`.
_SETTLED_NS = 50_000_000


def content_hash(path: Path, cache: Path) -> str:
    """64 hex digits that name what ``path`` holds, wherever it lies and whenever it was written.

    A file gives the SHA-256 of its bytes; a folder the SHA-256 over the relative path and SHA-256 of each file below
    it, in sorted order. Hidden names (a leading dot) count for nothing; links are followed. A small record in
    ``cache``, written whole, remembers the answer with the size and times of every file, so that what did not change
    is not read again.

    Raises:
        FileNotFoundError: where there is neither file nor folder.
    """
    signature, newest = _signature(path)
    record = _record(path, cache)
    try:
        kept = json.loads(record.read_text(encoding="utf-8"))
        if kept["signature"] == signature:
            return str(kept["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    settled = time.time_ns() - newest > _SETTLED_NS
    digest = _folder_hash(path) if path.is_dir() else _file_hash(path)
    if settled and _signature(path)[0] == signature:
        kept = {"path": str(path.resolve()), "signature": signature, "sha256": digest}
        write_text(record, json.dumps(kept, indent=1) + "\n")
    return digest


def forget_hash(path: Path, cache: Path) -> None:
    """Remove the record that ``content_hash`` keeps of ``path``, if there is one."""
    _record(path, cache).unlink(missing_ok=True)


def files_below(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Relative path (``/`` between its parts) and ``stat`` of each file below, sorted; see ``content_hash``."""
    return iter(sorted(_walk(str(folder), "", frozenset()), key=lambda found: found[0]))


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


def _signature(path: Path) -> tuple[str, int]:
    """Hex digits over the sizes and times of the files, and the newest time of change (ns since the epoch)."""
    found = list(files_below(path)) if path.is_dir() else [("", path.stat())]
    listed = "\n".join(f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}\0{stat.st_ctime_ns}" for name, stat in found)
    newest = max((stat.st_ctime_ns for _, stat in found), default=0)
    return hashlib.sha256(listed.encode("utf-8", "surrogateescape")).hexdigest(), newest


def _record(path: Path, cache: Path) -> Path:
    place = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:16]
    return cache / f"content-{place}.json"


def _file_hash(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _folder_hash(folder: Path) -> str:
    digest = hashlib.sha256()
    for name, _ in files_below(folder):
        digest.update(f"{name}\0{_file_hash(folder / name)}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
