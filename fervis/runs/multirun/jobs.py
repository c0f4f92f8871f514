"""A sweep while it runs: which of its jobs begins, and what of it is finished where it ends early."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from omegaconf import OmegaConf

from fervis.runs.config import expand_sweep
from fervis.system.console import log


def log_job(number: int, sweep: Path, overrides: Sequence[str]) -> None:
    """Log which job of a sweep begins: ``job 3 of 8: layer=conv3``.

    Args:
        number: of the job, from 1.
        sweep: the sweep's folder.
        overrides: of the job; those that all jobs share are not repeated.
    """
    task_overrides, jobs = job_position(sweep / "multirun.yaml")
    own = [override for override in overrides if override not in task_overrides]
    log.info("job %d of %d: %s", number, max(jobs, number), " ".join(own) or "as given")


@cache
def job_position(path: Path) -> tuple[tuple[str, ...], int]:
    """Return the overrides that a sweep started with, and how many jobs they make, from a file that Hydra writes."""
    if not path.is_file():
        return (), 0
    task_overrides = tuple(OmegaConf.select(OmegaConf.load(path), "hydra.overrides.task"))
    return task_overrides, len(expand_sweep(task_overrides))


def completed_summary(sweep: Path, command: str) -> str:
    """Write the page of a sweep that is ended early, where anything is answered, and return how much that is.

    Args:
        sweep: its folder.
        command: what started it.
    """
    from fervis.reporting.sweep.page import write_sweep

    answered = len(list(sweep.glob("*/summary.json")))
    _, jobs = job_position(sweep / "multirun.yaml")
    page = f" (so far: {write_sweep(sweep, command)})" if answered else ""
    return f"{answered} of {max(jobs, answered)} answers of the sweep{page}"
