"""One process at a time: two that run the same config, or need the same training, do the work once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from fervis.system.console import log
from fervis.system.hashing import digest


@contextmanager
def exclusive(outputs: Path, folder: Path, doing: str) -> Iterator[None]:
    """Wait until no other process works on a folder; the lock of a killed process is free.

    Args:
        outputs: the folder of runs, sweeps and trained networks, which contains the locks.
        folder: what is worked on.
        doing: activity of the other process for the log, such as ``trains this network``.
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
    """Lock a folder, so that no other process works on it; yield False where one holds it."""
    lock = lock_for(outputs, folder)
    if not acquire_now(lock):
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def any_lock_held(outputs: Path) -> bool:
    """Return whether a living process holds any folder of these outputs."""
    for path in (outputs / "locks").glob("*.lock"):
        lock = FileLock(path)
        if not acquire_now(lock):
            return True
        lock.release()
    return False


def acquire_now(lock: FileLock) -> bool:
    """Take a lock if no process holds it; return whether it was taken."""
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    return True


def lock_for(outputs: Path, folder: Path) -> FileLock:
    """Return the lock of a folder, which is the same for every process."""
    path = lock_path(outputs, folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path)


def lock_path(outputs: Path, folder: Path) -> Path:
    """Return the file of a folder's lock, which stays after a process has worked on the folder."""
    return outputs / "locks" / f"{folder.name}-{digest(str(folder.resolve()), 8)}.lock"
