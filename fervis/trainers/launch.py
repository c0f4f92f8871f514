"""Start, watch and end processes on this machine with torchrun's process layer.

That layer is ``torch.distributed.elastic.multiprocessing``. torchrun's agent (``elastic_launch``) is not used: it
blocks until the last process has ended, so the process that follows a training could neither log epochs to its tracker
as they end nor stop the training.
"""

from __future__ import annotations

import logging
import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, start_processes


class ProcessEndedError(Exception):
    """A process ended before its work was done."""


def launch_processes(
    entry: Callable[..., Any], arguments: tuple[Any, ...], size: int, receive: Callable[..., None], folder: Path
) -> Any:
    """Call ``entry(sender, *arguments)`` in new processes, and end them in any case.

    The environment of each states its rank as torchrun would.

    Args:
        entry: a function of a module.
        arguments: data that can be pickled; tensors on the CPU are shared.
        size: how many processes.
        receive: called here with the items of each tuple that a process sends by ``sender.send``; what it raises ends
            all processes.
        folder: an empty folder for the launcher's files.

    Returns:
        What the process of rank 0 returned.

    Raises:
        ProcessEndedError: a process ended early; the sentence names it.
    """
    receiver, sender = multiprocessing.get_context("spawn").Pipe(duplex=False)
    threads = max(1, torch.get_num_threads() // size)
    environments = {rank: _rank_environment(rank, size, threads) for rank in range(size)}
    with _quiet_launcher():
        with _kept_signal_handlers():
            members = dict.fromkeys(range(size), (sender, *arguments))
            logs = DefaultLogsSpecs(log_dir=str(folder))
            group = start_processes("fervis", entry, members, environments, logs, start_method="spawn")
        try:
            while (outcome := group.wait(timeout=0)) is None:
                _relay(receiver, receive, timeout=0.05)
            _relay(receiver, receive)
        finally:
            group.close(signal.SIGKILL)
    for rank, failure in outcome.failures.items():
        reason = failure.signal_name() if failure.exitcode < 0 else f"exit code {failure.exitcode}"
        raise ProcessEndedError(f"process {rank} ended before its work was done ({reason}).")
    return outcome.return_values[0]


def _relay(receiver: Any, receive: Callable[..., None], timeout: float = 0.0) -> None:
    while receiver.poll(timeout):
        receive(*receiver.recv())


def _rank_environment(rank: int, size: int, threads: int) -> dict[str, str]:
    """Return the environment variables that torchrun would set for a process."""
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(size),
        "LOCAL_WORLD_SIZE": str(size),
        "MASTER_ADDR": "localhost",
        "OMP_NUM_THREADS": str(threads),
    }


@contextmanager
def _quiet_launcher() -> Iterator[None]:
    """Keep the launcher's own report of a failed process off the console; an error states it."""
    logger = logging.getLogger("torch.distributed.elastic.multiprocessing.api")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def _kept_signal_handlers() -> Iterator[None]:
    """Restore the signal handlers that the launcher replaces: Ctrl-C ends the run as it always does."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
    handlers = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():  # only there does the launcher replace them
            for number, handler in handlers.items():
                signal.signal(number, handler)
