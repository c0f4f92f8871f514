"""Files that are whole or not there: everything fervis keeps is written beside its place and renamed into it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# What a run folder holds until its answer is whole; neither torch nor Hydra is needed to look for it.
STAGING_FOLDER = ".partial"
CHUNKS_FOLDER = "blocks"
CHUNKS_METADATA = f"{CHUNKS_FOLDER}/about.json"


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a path beside ``path`` to write to; rename it to ``path`` on success, remove it on failure.

    The name keeps its ending, since many writers choose the format by it. Two processes that write the same path
    at once do not meet: the last one wins, whole.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, whole or not at all."""
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8")
