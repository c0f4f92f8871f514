"""One process at a time: two that are asked the same question, or need the same training, do the work once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from fervis.system.console import log


@contextmanager
def exclusive(outputs: Path, folder: Path, doing: str) -> Iterator[None]:
    """Wait until no other process works on a folder; one that is killed holds nothing.

    Args:
        outputs: the folder of runs, sweeps and trained networks, where the locks are kept.
        folder: what is worked on.
        doing: what another process is then said to be doing, such as ``answers this``.
    """
    lock = lock_for(outputs, folder)
    if not acquire_now(lock):
        log.info("another process %s, waiting for it: %s", doing, folder)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def try_lock(outputs: Path, folder: Path) -> Iterator[bool]:
    """Hold a folder for a moment, so that nobody else works on it; False where a living process holds it."""
    lock = lock_for(outputs, folder)
    if not acquire_now(lock):
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def any_lock_held(outputs: Path) -> bool:
    """Whether a living process holds any folder of these outputs."""
    for path in (outputs / "locks").glob("*.lock"):
        lock = FileLock(path)
        if not acquire_now(lock):
            return True
        lock.release()
    return False


def acquire_now(lock: FileLock) -> bool:
    """Take a lock if nobody holds it."""
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    return True


def lock_for(outputs: Path, folder: Path) -> FileLock:
    """The lock of a folder, which is the same for every process."""
    digest = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:8]
    locks = outputs / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    return FileLock(locks / f"{folder.name}-{digest}.lock")
