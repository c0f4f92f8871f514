"""Jobs of a sweep in other processes: log lines name their job, logs in files are repeated, no process is left over."""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from tqdm import tqdm

from fervis.system.console import configure_logging, log
from fervis.system.progress import line_progress, quiet_progress

LOG_LISTENERS = 0.2  # seconds between two reads of the jobs' log files


@cache
def exit_with_parent(process: int) -> None:
    """End this process with the one that launched it, where that is its parent: a worker of loky's would work on.

    Jobs of a scheduler, which has intermediate processes, are meant to outlive the command.
    """

    def watch() -> None:
        while os.getppid() == process:
            time.sleep(1)
        os._exit(1)

    if os.getppid() == process:
        # Loky leaves a start method here that the processes of trainer.devices=2 cannot use.
        multiprocessing.set_start_method("spawn", force=True)
        threading.Thread(target=watch, daemon=True).start()


@contextmanager
def prefix_logs(job: int, *, quiet: bool) -> Iterator[None]:
    """Prefix every log line with its job, in a process that a launcher started, and draw no progress bars.

    Args:
        job: its number in the sweep, from 1.
        quiet: say nothing below warnings.
    """

    def named(record: logging.LogRecord) -> bool:
        if not record.msg.startswith("job "):  # as the word does that announces it
            record.msg = f"job {job}: {record.msg}"
        return True

    configure_logging(quiet)
    tqdm.set_lock(threading.RLock())  # its own is a semaphore, which a worker that is ended leaves behind
    log.addFilter(named)
    try:
        with quiet_progress() if quiet else line_progress():  # several processes would draw over each other
            yield
    finally:
        log.removeFilter(named)


@contextmanager
def relay_logs(sweep: Path) -> Iterator[None]:
    """While a sweep's jobs run, repeat here what those say that write into files of submitit's instead.

    Run folders go to standard output and log words to standard error, as those of jobs in this process do.
    """
    # Loky replaces a worker that has grown by a training, and the jobs go on.
    warnings.filterwarnings("ignore", message="A worker stopped while some jobs were given", category=UserWarning)
    read = {path: path.stat().st_size for path in _log_text(sweep)}
    over = threading.Event()

    def repeat() -> None:
        while not over.wait(LOG_LISTENERS):
            _relay_record(sweep, read)

    listener = threading.Thread(target=repeat, daemon=True)
    listener.start()
    try:
        yield
    finally:
        over.set()
        listener.join()
        _relay_record(sweep, read)
        with suppress(OSError):
            (sweep / ".submitit" / "%j").rmdir()  # made by submitit's local executor, and of no use


def _log_text(sweep: Path) -> list[Path]:
    """Return the files that submitit's jobs write into."""
    return sorted(sweep.glob(".submitit/*/*_log.*"))


def _relay_record(sweep: Path, read: dict[Path, int]) -> None:
    """Repeat whole new lines; ``read`` holds how much of each file was repeated, and is updated."""
    for path in _log_text(sweep):
        with path.open("rb") as file:
            file.seek(read.get(path, 0))
            new = file.read()
        lines, end, _ = new.rpartition(b"\n")
        read[path] = read.get(path, 0) + len(lines) + len(end)
        for line in lines.decode("utf-8", "replace").splitlines():
            if line.startswith("fervis: "):
                print(line, file=sys.stderr)
            elif path.suffix == ".out" and Path(line).parent.name == sweep.name and Path(line).is_dir():
                print(line, flush=True)
