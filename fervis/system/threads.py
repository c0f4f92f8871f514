"""Threads: as many for an explanation under every launcher, all cores for a training, and trainings taking turns."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_limits

from fervis.errors import ConfigError
from fervis.system.hashing import digest
from fervis.system.locks import exclusive
from fervis.system.ranks import is_main_process, process_rank

AUTO_THREADS = 1
_assumed_cores: ContextVar[int | None] = ContextVar("assumed_cores", default=None)


def choose_threads(spec: Any) -> int:
    """Return how many threads explain: ``auto`` is one, since the jobs of a sweep share the cores.

    The sum of many numbers may depend on how many threads add it up. An explanation depends on ``threads`` alone, and
    not on how many cores a launcher leaves to a job: the same config gives the same bytes under every launcher.

    Raises:
        ConfigError: neither ``auto`` nor a whole number of at least 1.
    """
    if spec == "auto":
        return AUTO_THREADS
    if isinstance(spec, bool) or not isinstance(spec, int) or spec < 1:
        raise ConfigError(f"threads={spec}: expected auto or a whole number of at least 1.")
    return spec


def available_cores() -> tuple[int, ...]:
    """Return the numbers of the cores available to this process, independent of ``OMP_NUM_THREADS`` and launchers."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def training_cores() -> int:
    """Return how many cores a training on the CPU computes with."""
    return _assumed_cores.get() or len(available_cores())


def training_machine(device: str) -> list[Any]:
    """Return what of this machine changes a trained network: the kind of device, and of a CPU how many cores add up.

    Processes that torchrun or srun started may be bound to different numbers of cores and must agree, so theirs count
    for nothing.
    """
    kind = torch.device(device).type
    return [kind, training_cores()] if kind == "cpu" and process_rank() is None else [kind]


@contextmanager
def assume_cores(count: int | None) -> Iterator[None]:
    """Train inside as on a machine of ``count`` cores, so that a network of another machine has the same key."""
    token = _assumed_cores.set(count)
    try:
        yield
    finally:
        _assumed_cores.reset(token)


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

    Trainings on a GPU need the cores little and do not wait. Processes that train together share the cores, and the
    first of them waits for all.

    Args:
        outputs: the folder of runs, sweeps and trained networks.
        device: device of the training.
    """
    folder = outputs / f"cores-of-{socket.gethostname()}-{digest(available_cores(), 8)}"
    waits = torch.device(device).type == "cpu" and is_main_process()
    turn = exclusive(outputs, folder, "trains on these cores") if waits else nullcontext()
    with turn, thread_limit(max(1, training_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", 1)))):
        yield
