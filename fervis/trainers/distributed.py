"""One training by several processes, on the GPUs or cores of one machine or of several, through Accelerate.

The processes are started here, or were started by torchrun, ``accelerate launch`` or srun, whose environment is read.
Each computes its share of every batch; gradients, and what normalisations see, are of the whole (``whole_batch``).
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import re
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException, start_processes
from tqdm import tqdm

from fervis.errors import ConfigError, RunError
from fervis.system.distribution import install_command
from fervis.system.ranks import ProcessRank, process_rank

Log = Callable[[int, Mapping[str, float]], None]


@dataclass(frozen=True)
class ProcessGroup:
    """The processes that train one network, as one of them sees them; by default it is alone.

    Attributes:
        rank: this process's number, from 0.
        size: how many there are.
        accelerator: Accelerate's, None for one alone.
    """

    rank: int = 0
    size: int = 1
    accelerator: Any = None

    @property
    def leads(self) -> bool:
        """Whether this process is the one that writes files and tells of the training."""
        return self.rank == 0

    def share(self, batch: Tensor) -> Tensor:
        """This process's rows of a batch; the batch must divide evenly."""
        return batch.chunk(self.size)[self.rank] if self.size > 1 else batch

    def sums(self, *numbers: float) -> tuple[float, ...]:
        """The sum over all processes of each of these numbers."""
        if self.size == 1:
            return numbers
        totals = torch.tensor(numbers, dtype=torch.float64, device=self.accelerator.device)
        dist.all_reduce(totals)
        return tuple(totals.tolist())

    def joined(self, network: nn.Module) -> Callable[[Tensor], Tensor]:
        """The network's forward pass on a share of a batch, with statistics and gradients of the whole batch."""
        if self.size == 1:
            return network
        from fervis.trainers.global_batch import GlobalBatch

        together = self.accelerator.prepare_model(network)

        def forward(pixels: Tensor) -> Tensor:
            with GlobalBatch(self.rank, self.size):
                return together(pixels)

        return forward


def check_devices(devices: int, nodes: int) -> None:
    """Refuse numbers of processes that cannot be had, before any work begins.

    Raises:
        ConfigError: Accelerate is missing, or other processes were started than the question asks for.
    """
    size, here = devices * nodes, process_rank()
    asked = f"trainer.devices={devices}" + (f" trainer.nodes={nodes}" if nodes > 1 else "")
    if here and here.size != size:
        raise ConfigError(
            f"{asked}: {here.starter} started {here.size} processes, and {size} {'is' if size == 1 else 'are'} asked "
            "for; trainer.devices counts those of a machine, trainer.nodes the machines."
        )
    if size > 1 and find_spec("accelerate") is None:
        raise ConfigError(f"{asked}: it needs Accelerate, which {install_command('parallel')} brings.")
    if nodes > 1 and not here:
        raise ConfigError(
            f"{asked}: several machines were expected to start the command themselves, with torchrun or srun."
        )


def run_processes(
    work: Callable[..., Mapping[str, Any]], arguments: tuple[Any, ...], *, devices: int, device: str, log: Log
) -> Mapping[str, Any]:
    """Do ``work(team, device, log, *arguments)`` in every process of a team.

    Where the processes were started from outside, this one does its part; else ``devices`` processes are started, and
    end with this call.

    Args:
        work: a function of a module; it begins with torch's global generator as it is here.
        arguments: data that can be pickled. Tensors on the CPU are shared, and must not be written to.
        devices: processes of this machine; ``check`` must have passed.
        device: ``cpu``, or ``cuda`` for a GPU each.
        log: called here with what the leading process says to its own ``log``.

    Returns:
        What ``work`` returned: in this process where it was started from outside, else in the leading one.

    Raises:
        ConfigError: a machine without so many GPUs, or arguments that no other process can read.
        RunError: a process ended before its work was done.
    """
    kind = torch.device(device)
    if kind.type not in ("cpu", "cuda") or kind.index is not None:
        raise ConfigError(f"device={device}: trainer.devices={devices} expects device=cpu or device=cuda.")
    if kind.type == "cuda" and torch.cuda.device_count() < devices:
        raise ConfigError(f"trainer.devices={devices}: this machine has {torch.cuda.device_count()} GPUs.")
    here = process_rank()
    if here:
        return work(_join_group(here, device, _rendezvous()), device_of_rank(device, here), log, *arguments)
    return _start(work, arguments, devices, device, log)


def device_of_rank(device: str, here: ProcessRank) -> str:
    """The device of one process: the CPU that all share, or a GPU of its own."""
    return device if device == "cpu" else f"cuda:{here.local}"


def _join_group(here: ProcessRank, device: str, rendezvous: str) -> ProcessGroup:
    """Meet the others and take one's place among them."""
    from accelerate import Accelerator

    if not dist.is_initialized():
        for name, value in {"RANK": here.rank, "WORLD_SIZE": here.size, "LOCAL_RANK": here.local}.items():
            os.environ[name] = str(value)
        os.environ.setdefault("OMP_NUM_THREADS", str(torch.get_num_threads()))  # else Accelerate sets its own
        if device != "cpu":
            torch.cuda.set_device(here.local)
        backend = "gloo" if device == "cpu" else "nccl"
        dist.init_process_group(backend, init_method=rendezvous, rank=here.rank, world_size=here.size)
        atexit.register(_part_of_batch)
    return ProcessGroup(here.rank, here.size, Accelerator(cpu=device == "cpu", mixed_precision="no"))


def _part_of_batch() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def _rendezvous() -> str:
    """Where processes that were started from outside meet: as the environment says, or at the first node of Slurm's."""
    if "MASTER_ADDR" not in os.environ and "SLURM_STEP_NODELIST" in os.environ:
        os.environ["MASTER_ADDR"] = first_node(os.environ["SLURM_STEP_NODELIST"])
        # A job's own port, so that two jobs on one machine do not meet.
        os.environ.setdefault("MASTER_PORT", str(20000 + int(os.environ.get("SLURM_JOB_ID", 0)) % 20000))
    return "env://"


def first_node(names: str) -> str:
    """``gpu03`` of Slurm's ``gpu[03-05,7],cpu1``."""
    found = re.match(r"([^,\[]+)(?:\[(\w+)[^\]]*\]([^,]*))?", names)
    return "".join(part or "" for part in found.groups()) if found else socket.gethostname()


def _start(work: Callable[..., Any], arguments: tuple[Any, ...], size: int, device: str, log: Log) -> Any:
    """Start the processes, hand on what they tell, and end them whatever happens."""
    _readable(arguments)
    threads = max(1, torch.get_num_threads() // size)
    told, mouth = multiprocessing.get_context("spawn").Pipe(duplex=False)
    result: list[Any] = []

    def listen() -> None:
        while told.poll():
            word, *said = told.recv()
            if word == "epoch":
                log(*said)
            elif word == "result":
                result.extend(said)
            else:
                raise {"ConfigError": ConfigError}.get(word, RunError)(*said)

    with tempfile.TemporaryDirectory() as meeting:
        common = (size, device, Path(meeting) / "store", torch.initial_seed(), threads, mouth)
        members = start_processes(
            _run_member, (*common, work, arguments), nprocs=size, join=False, start_method="spawn"
        )
        assert members is not None
        try:
            while not members.join(timeout=0.05):
                listen()
            listen()
        except (ProcessRaisedException, ProcessExitedException) as error:
            listen()
            reason = str(error).strip().splitlines()[-1]
            raise RunError(
                f"trainer.devices={size}: process {error.error_index} ended before its work was done ({reason})."
            ) from error
        finally:
            for process in filter(None, members.processes):
                process.kill()
                process.join()
    return result[0]


def _readable(arguments: tuple[Any, ...]) -> None:
    """Refuse networks of classes that a new process could not import."""
    for network in (argument for argument in arguments if isinstance(argument, nn.Module)):
        for module in network.modules():
            source = type(module).__module__.partition(".")[0]
            if source != "__main__" and source in sys.modules and PathFinder.find_spec(source) is None:
                raise ConfigError(
                    f"trainer.devices: the network's {type(module).__name__} comes from a file that no new process can "
                    "import; install it as a package (model.module), or start the command with torchrun."
                )


def _run_member(
    rank: int,
    size: int,
    device: str,
    store: Path,
    seed: int,
    threads: int,
    mouth: Any,
    work: Callable[..., Any],
    arguments: tuple[Any, ...],
) -> None:
    """One process of those that are started here."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the one that started this ends it
    threading.Thread(target=_end_with_parent, daemon=True).start()
    tqdm.set_lock(threading.RLock())  # its own is a semaphore, which a process that is killed leaves behind
    torch.set_num_threads(threads)
    os.environ |= {"OMP_NUM_THREADS": str(threads), "LOCAL_WORLD_SIZE": str(size), "MASTER_ADDR": "localhost"}
    torch.manual_seed(seed)
    here = ProcessRank(rank, size, rank, "fervis")

    def log(epoch: int, numbers: Mapping[str, float]) -> None:
        if rank == 0:  # two that speak at once would not be understood
            mouth.send(("epoch", epoch, dict(numbers)))

    try:
        result = work(_join_group(here, device, store.as_uri()), device_of_rank(device, here), log, *arguments)
    except (ConfigError, RunError) as error:
        if rank == 0:  # what stops the training is known to all
            mouth.send((type(error).__name__, str(error)))
        sys.exit(1)
    if rank == 0:
        mouth.send(("result", result))


def _end_with_parent() -> None:
    """End this process when the one that started it has ended, however that came about."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
