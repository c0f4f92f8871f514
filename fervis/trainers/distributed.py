"""Train one network in several processes, on the GPUs or cores of one machine or of several, through Accelerate.

The processes were started by torchrun, ``accelerate launch`` or srun, whose environment is read, or are started by
``launch``.

Each process computes its share of every batch; gradients and the statistics of normalisations are those of the whole
batch (``global_batch``).
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
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from tqdm import tqdm

from fervis.errors import ConfigError, RunError
from fervis.system.distribution import install_command
from fervis.system.ranks import ProcessRank, process_rank
from fervis.trainers.launch import ProcessEndedError, launch_processes

Log = Callable[[int, Mapping[str, float]], None]


@dataclass(frozen=True)
class ProcessGroup:
    """The processes that train one network, as seen by one of them; by default there is one.

    Attributes:
        rank: number of this process, from 0.
        size: number of processes.
        accelerator: Accelerate's object; None where there is one process.
    """

    rank: int = 0
    size: int = 1
    accelerator: Any = None

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes files and logs."""
        return self.rank == 0

    def share(self, batch: Tensor) -> Tensor:
        """Return this process's rows of a batch, which must divide evenly."""
        return batch.chunk(self.size)[self.rank] if self.size > 1 else batch

    def sums(self, *numbers: float) -> tuple[float, ...]:
        """Return the sum over all processes of each number."""
        if self.size == 1:
            return numbers
        totals = torch.tensor(numbers, dtype=torch.float64, device=self.accelerator.device)
        dist.all_reduce(totals)
        return tuple(totals.tolist())

    def wrap(self, network: nn.Module) -> Callable[[Tensor], Tensor]:
        """Return the network's forward pass on a share of a batch, with statistics and gradients of the whole batch."""
        if self.size == 1:
            return network
        from fervis.trainers.global_batch import GlobalBatch

        distributed = self.accelerator.prepare_model(network)

        def forward(pixels: Tensor) -> Tensor:
            with GlobalBatch(self.rank, self.size):
                return distributed(pixels)

        return forward


def check_devices(devices: int, nodes: int) -> None:
    """Refuse numbers of processes that are not available, before any work begins.

    Raises:
        ConfigError: Accelerate is not installed, or another number of processes was started.
    """
    size, rank = devices * nodes, process_rank()
    setting = f"trainer.devices={devices}" + (f" trainer.nodes={nodes}" if nodes > 1 else "")
    if rank and rank.size != size:
        raise ConfigError(
            f"{setting}: expected {size} {'process' if size == 1 else 'processes'}, and {rank.starter} started "
            f"{rank.size}; trainer.devices counts the processes of each machine, trainer.nodes the machines."
        )
    if size > 1 and find_spec("accelerate") is None:
        raise ConfigError(f"{setting}: it needs Accelerate, which {install_command('parallel')} brings.")
    if nodes > 1 and not rank:
        raise ConfigError(f"{setting}: expected the command to be started on every machine, with torchrun or srun.")


def run_processes(
    work: Callable[..., Mapping[str, Any]], arguments: tuple[Any, ...], *, devices: int, device: str, log: Log
) -> Mapping[str, Any]:
    """Do ``work(group, device, log, *arguments)`` in every process of a group.

    Where the processes were started from outside, this one does its part; else ``devices`` processes are started, and
    end with this call.

    Args:
        work: a function of a module; it begins with the state that torch's global generator has here.
        arguments: data that can be pickled. Tensors on the CPU are shared, and must not be written to.
        devices: processes of this machine; ``check_devices`` has passed.
        device: ``cpu``, or ``cuda`` for one GPU per process.
        log: called here with what the leading process passes to its own ``log``.

    Returns:
        What ``work`` returned: in this process where it was started from outside, else in the leading one.

    Raises:
        ConfigError: this machine has fewer GPUs, or the arguments cannot be read by another process.
        RunError: a process ended before its work was done.
    """
    kind = torch.device(device)
    if kind.type not in ("cpu", "cuda") or kind.index is not None:
        raise ConfigError(f"device={device}: trainer.devices={devices} expects device=cpu or device=cuda.")
    if kind.type == "cuda" and torch.cuda.device_count() < devices:
        raise ConfigError(f"trainer.devices={devices}: this machine has {torch.cuda.device_count()} GPUs.")
    rank = process_rank()
    if rank:
        return work(_join_group(rank, device, _rendezvous()), device_of_rank(device, rank), log, *arguments)
    return _launch(work, arguments, devices, device, log)


def device_of_rank(device: str, rank: ProcessRank) -> str:
    """Return the device of one process: the CPU that all share, or one GPU each."""
    return device if device == "cpu" else f"cuda:{rank.local}"


def _join_group(rank: ProcessRank, device: str, rendezvous: str) -> ProcessGroup:
    """Join the process group, unless this process has joined it before."""
    from accelerate import Accelerator

    if not dist.is_initialized():
        for name, value in {"RANK": rank.rank, "WORLD_SIZE": rank.size, "LOCAL_RANK": rank.local}.items():
            os.environ[name] = str(value)
        os.environ.setdefault("OMP_NUM_THREADS", str(torch.get_num_threads()))  # else Accelerate sets its own
        if device != "cpu":
            torch.cuda.set_device(rank.local)
        backend = "gloo" if device == "cpu" else "nccl"
        dist.init_process_group(backend, init_method=rendezvous, rank=rank.rank, world_size=rank.size)
        atexit.register(_leave_group)
    return ProcessGroup(rank.rank, rank.size, Accelerator(cpu=device == "cpu", mixed_precision="no"))


def _leave_group() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def _rendezvous() -> str:
    """Return the address at which processes started from outside meet: from the environment, or Slurm's first node."""
    if "MASTER_ADDR" not in os.environ and "SLURM_STEP_NODELIST" in os.environ:
        os.environ["MASTER_ADDR"] = first_node(os.environ["SLURM_STEP_NODELIST"])
        # The port depends on the job, so that two jobs on one machine do not meet.
        os.environ.setdefault("MASTER_PORT", str(20000 + int(os.environ.get("SLURM_JOB_ID", 0)) % 20000))
    return "env://"


def first_node(names: str) -> str:
    """Return the first host of a Slurm list of nodes.

    Example:
        >>> first_node("gpu[03-05,7],cpu1")
        'gpu03'
    """
    match = re.match(r"([^,\[]+)(?:\[(\w+)[^\]]*\]([^,]*))?", names)
    return "".join(part or "" for part in match.groups()) if match else socket.gethostname()


def _launch(work: Callable[..., Any], arguments: tuple[Any, ...], size: int, device: str, log: Log) -> Any:
    """Do the work in new processes; log here what the leading one logs, and raise here what it raises."""
    _check_importable(arguments)

    def receive(kind: str, *content: Any) -> None:
        if kind != "epoch":
            raise {"ConfigError": ConfigError}.get(kind, RunError)(*content)
        log(*content)

    with tempfile.TemporaryDirectory() as folder:
        store = (Path(folder) / "store").as_uri()
        member_arguments = (device, store, torch.initial_seed(), work, arguments)
        try:
            return launch_processes(_run_member, member_arguments, size, receive, Path(folder))
        except ProcessEndedError as error:
            raise RunError(f"trainer.devices={size}: {error}") from error


def _check_importable(arguments: tuple[Any, ...]) -> None:
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
    sender: Any, device: str, store: str, seed: int, work: Callable[..., Any], arguments: tuple[Any, ...]
) -> Any:
    """Do the part of one of the processes that ``launch_processes`` starts."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the one that started this ends it
    threading.Thread(target=_end_with_parent, daemon=True).start()
    tqdm.set_lock(threading.RLock())  # the default lock is a semaphore, which a killed process would leave behind
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    torch.manual_seed(seed)
    rank = process_rank()
    assert rank is not None, "the environment states it"

    def log(epoch: int, metrics: Mapping[str, float]) -> None:
        if rank.rank == 0:  # messages of two processes would mix in the pipe
            sender.send(("epoch", epoch, dict(metrics)))

    try:
        return work(_join_group(rank, device, store), device_of_rank(device, rank), log, *arguments)
    except (ConfigError, RunError) as error:
        if rank.rank == 0:  # an error that ends the training is raised in every process
            sender.send((type(error).__name__, str(error)))
        else:
            time.sleep(5)  # the first process that ends ends all, and the leading one must have sent its message
        sys.exit(1)


def _end_with_parent() -> None:
    """End this process as soon as its parent has ended, even by SIGKILL, which the launcher cannot pass on."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
