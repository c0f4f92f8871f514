"""Threads: as many for an explanation under every launcher, all cores for a training, and trainings taking turns."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_limits

from fervis.errors import ConfigError
from fervis.system.locks import exclusive
from fervis.system.ranks import is_main_process

AUTO_THREADS = 1


def choose_threads(spec: Any) -> int:
    """How many threads explain: ``auto`` is one, for a sweep's jobs share the cores among them.

    The sum of many numbers may depend on how many threads add it up. What is explained depends on ``threads`` alone,
    and not on how many cores a launcher leaves to a job: the same question gives the same bytes under each of them.

    Raises:
        ConfigError: neither ``auto`` nor a whole number of at least 1.
    """
    if spec == "auto":
        return AUTO_THREADS
    if isinstance(spec, bool) or not isinstance(spec, int) or spec < 1:
        raise ConfigError(f"threads={spec}: expected auto or a whole number of at least 1.")
    return spec


def core_count() -> tuple[int, ...]:
    """The numbers of the cores that this process may run on, whatever ``OMP_NUM_THREADS`` or a launcher say."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


@contextmanager
def thread_limit(threads: int) -> Iterator[None]:
    """Let torch, and the linear algebra of NumPy and SciPy, compute with so many threads inside."""
    before = torch.get_num_threads()
    with threadpool_limits(threads):
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)


@contextmanager
def all_cores(outputs: Path, device: str) -> Iterator[None]:
    """Compute with every core of this process, when no other training of these outputs does.

    Trainings on a GPU need the cores little, and wait for nobody. Processes that train together share the cores, and
    the first of them waits for all.

    Args:
        outputs: the folder of runs, sweeps and trained networks.
        device: where the training is done.
    """
    mine = core_count()
    digest = hashlib.sha256(repr(mine).encode()).hexdigest()[:8]
    place = outputs / f"cores-of-{socket.gethostname()}-{digest}"
    waits = torch.device(device).type == "cpu" and is_main_process()
    turn = exclusive(outputs, place, "trains on these cores") if waits else nullcontext()
    with turn, thread_limit(max(1, len(mine) // int(os.environ.get("LOCAL_WORLD_SIZE", 1)))):
        yield
