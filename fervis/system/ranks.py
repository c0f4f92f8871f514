"""Rank and world size of this process in a distributed training."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class ProcessRank:
    """Where this process stands among those that were started together, by whatever started them."""

    rank: int
    size: int
    local: int
    starter: str


def process_rank() -> ProcessRank | None:
    """Return the rank that torchrun, ``accelerate launch`` or srun gave this process; None if it runs alone."""
    told = os.environ
    if "RANK" in told and int(told.get("WORLD_SIZE", 1)) > 1:
        return ProcessRank(int(told["RANK"]), int(told["WORLD_SIZE"]), int(told.get("LOCAL_RANK", 0)), "torchrun")
    if "SLURM_PROCID" in told and int(told.get("SLURM_STEP_NUM_TASKS", 1)) > 1:
        tasks = int(told["SLURM_STEP_NUM_TASKS"])
        return ProcessRank(int(told["SLURM_PROCID"]), tasks, int(told.get("SLURM_LOCALID", 0)), "srun")
    return None


def is_main_process() -> bool:
    """Whether this process is the only one, or the first of those that were started together."""
    here = process_rank()
    return here is None or here.rank == 0
