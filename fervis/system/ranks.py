"""Rank and world size of this process in a distributed training."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class ProcessRank:
    """Rank of this process among those that were started together, by any launcher."""

    rank: int
    size: int
    local: int
    starter: str


def process_rank() -> ProcessRank | None:
    """Return the rank that torchrun, ``accelerate launch`` or srun gave this process; None if it runs alone."""
    env = os.environ
    if "RANK" in env and int(env.get("WORLD_SIZE", 1)) > 1:
        return ProcessRank(int(env["RANK"]), int(env["WORLD_SIZE"]), int(env.get("LOCAL_RANK", 0)), "torchrun")
    if "SLURM_PROCID" in env and int(env.get("SLURM_STEP_NUM_TASKS", 1)) > 1:
        tasks = int(env["SLURM_STEP_NUM_TASKS"])
        return ProcessRank(int(env["SLURM_PROCID"]), tasks, int(env.get("SLURM_LOCALID", 0)), "srun")
    return None


def is_main_process() -> bool:
    """Whether this process is the only one, or the first of those that were started together."""
    own = process_rank()
    return own is None or own.rank == 0
