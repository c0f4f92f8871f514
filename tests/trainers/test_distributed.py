"""Who stands where among several processes, what is refused before any work, and what a process's end means."""

from __future__ import annotations

import os
import signal
import sys
from types import ModuleType

import pytest
import torch
from torch import nn

from fervis.core.registry import build_plugin
from fervis.errors import ConfigError, RunError
from fervis.system.ranks import ProcessRank, is_main_process, process_rank
from fervis.trainers import distributed
from fervis.trainers.distributed import ProcessGroup, check_devices, first_node, run_processes

TORCHRUN = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}
SRUN = {"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "2", "SLURM_LOCALID": "0", "SLURM_STEP_NODELIST": "gpu[03-04]"}


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*TORCHRUN, *SRUN, "MASTER_ADDR", "MASTER_PORT"]:
        monkeypatch.delenv(name, raising=False)


def started(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"RANK": "0", "WORLD_SIZE": "1"}, None),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "4"}, None),  # a batch script: the job's tasks are not started yet
        (TORCHRUN, ProcessRank(3, 4, 1, "torchrun")),
        (SRUN, ProcessRank(0, 2, 0, "srun")),
        (SRUN | TORCHRUN, ProcessRank(3, 4, 1, "torchrun")),
    ],
)
def test_the_place_is_what_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: ProcessRank | None
):
    started(monkeypatch, environment)
    assert process_rank() == expected
    assert is_main_process() == (expected is None or expected.rank == 0)


@pytest.mark.parametrize(
    ("names", "first"),
    [("gpu[03-05,7],cpu1", "gpu03"), ("node7", "node7"), ("a-1,b-2", "a-1"), ("n[9].site,m1", "n9.site")],
)
def test_slurms_first_node(names: str, first: str):
    assert first_node(names) == first


def test_slurms_processes_meet_at_the_first_node_at_a_port_of_the_job(monkeypatch: pytest.MonkeyPatch):
    started(monkeypatch, {**SRUN, "SLURM_JOB_ID": "40001"})
    assert distributed._rendezvous() == "env://"
    assert (os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"]) == ("gpu03", "20001")


@pytest.mark.parametrize(
    ("knobs", "environment", "sentence"),
    [
        ({"devices": 0}, {}, "trainer.devices=0: expected a whole number from 1."),
        (
            {"devices": 3},
            {},
            "trainer.batch_size=128: expected a multiple of 3, the number of processes that share a batch.",
        ),
        ({}, TORCHRUN, "trainer.devices=1: expected 1 process, and torchrun started 4"),
        (
            {"devices": 2, "nodes": 4},
            SRUN,
            "trainer.devices=2 trainer.nodes=4: expected 8 processes, and srun started 2",
        ),
        ({"devices": 2, "nodes": 2}, {}, "expected the command to be started on every machine"),
    ],
)
def test_processes_that_cannot_be_had_are_refused_before_any_work(
    monkeypatch: pytest.MonkeyPatch, knobs: dict[str, int], environment: dict[str, str], sentence: str
):
    started(monkeypatch, environment)
    with pytest.raises(ConfigError) as error:
        build_plugin("trainer", "supervised", **knobs)
    assert sentence in str(error.value)


def test_without_accelerate_the_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(distributed, "find_spec", lambda name: None)
    check_devices(1, 1)
    with pytest.raises(
        ConfigError, match=r"^trainer.devices=2: it needs Accelerate, which pip install 'fervis-xai\[parallel\]' brings"
    ):
        check_devices(2, 1)


def test_devices_that_are_not_there_are_refused():
    def nothing(*_: object) -> None: ...

    for device in ("mps", "cuda:0"):
        with pytest.raises(ConfigError, match=f"device={device}: trainer.devices=2 expects device=cpu or device=cuda"):
            run_processes(dict, (), devices=2, device=device, log=nothing)
    with pytest.raises(ConfigError, match=r"trainer.devices=99: this machine has \d+ GPUs\."):
        run_processes(dict, (), devices=99, device="cuda", log=nothing)


def test_a_network_from_a_file_that_cannot_be_imported_is_refused():
    module = ModuleType("fervis_own_nowhere")
    exec("from torch import nn\nclass Mine(nn.Module): pass", vars(module))
    module.Mine.__module__ = module.__name__
    sys.modules[module.__name__] = module
    try:
        with pytest.raises(ConfigError, match=r"the network's Mine comes from a file .* torchrun"):
            run_processes(dict, (nn.Sequential(module.Mine()),), devices=2, device="cpu", log=lambda *_: None)
    finally:
        del sys.modules[module.__name__]


def test_one_alone_is_a_team_that_changes_nothing():
    team, batch, network = ProcessGroup(), torch.arange(6), nn.Identity()
    assert team.leads
    assert team.share(batch) is batch
    assert team.wrap(network) is network
    assert team.sums(0.1, 3) == (0.1, 3)


def test_equal_shares_in_the_order_of_ranks():
    batch = torch.arange(6)
    assert torch.equal(torch.cat([ProcessGroup(rank, 3).share(batch) for rank in range(3)]), batch)


def work_of(team: ProcessGroup, device: str, log: distributed.Log, mode: str) -> dict[str, object]:
    if mode == "ends" and team.rank == 1:
        os._exit(7)
    if mode == "killed" and team.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if mode == "fails":
        raise RunError("a lower trainer.lr may help")
    log(1, {"sum": team.sums(team.rank + 1)[0], "share": float(team.share(torch.arange(4))[0])})
    return {"rank": team.rank, "device": device, "drawn": float(torch.rand(1, dtype=torch.float64))}


def test_the_leading_process_tells_and_returns():
    told: list[tuple[int, object]] = []
    with torch.random.fork_rng():
        torch.manual_seed(11)
        drawn = float(torch.rand(1, dtype=torch.float64))
        torch.manual_seed(11)
        result = run_processes(work_of, ("",), devices=2, device="cpu", log=lambda *said: told.append(said))
    assert result == {"rank": 0, "device": "cpu", "drawn": drawn}
    assert told == [(1, {"sum": 3.0, "share": 0.0})], "the other says nothing"


@pytest.mark.parametrize(
    ("mode", "sentence"),
    [
        ("ends", "trainer.devices=2: process 1 ended before its work was done (exit code 7)."),
        ("killed", "trainer.devices=2: process 1 ended before its work was done (SIGKILL)."),
        ("fails", "a lower trainer.lr may help"),
    ],
)
def test_the_end_of_a_process_ends_all(mode: str, sentence: str):
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(RunError) as error:
        run_processes(work_of, (mode,), devices=2, device="cpu", log=lambda *_: None)
    assert sentence in str(error.value)
    assert not torch.multiprocessing.active_children()
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
