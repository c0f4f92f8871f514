"""The state of a training in one file: all that the next epoch depends on, so that a training resumes to the bit."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Generator, Tensor

from fervis.core.network import Network
from fervis.system.files import atomic_path
from fervis.system.tensor_hash import tensors_hash


@dataclass
class TrainingState:
    """The state of a training between two epochs.

    Attributes:
        network: the network that is trained.
        average: the moving average of its weights, or the network itself where there is none.
        optimizer: with its momenta.
        generator: of order and augmentation.
        step: optimizer steps so far.
        history: the numbers of each epoch so far.
    """

    network: Network
    average: Network
    optimizer: torch.optim.Optimizer
    generator: Generator
    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)

    @property
    def epoch(self) -> int:
        """Return the number of complete epochs."""
        return len(self.history)

    @property
    def best(self) -> int:
        """Return the epoch of the highest accuracy on val, the earliest of equals."""
        return int(max(self.history, key=lambda row: (row["val/accuracy"], -row["epoch"]))["epoch"])


def new_state(
    network: Network, optimizer: torch.optim.Optimizer, generator: Generator, *, averaged: bool
) -> TrainingState:
    """Return the state before the first epoch."""
    average = copy.deepcopy(network) if averaged else network
    return TrainingState(network, average.requires_grad_(not averaged), optimizer, generator)


def save_state(state: TrainingState, path: Path) -> None:
    """Write the state as one safetensors file, atomically."""
    tensors = {f"network.{name}": value for name, value in state.network.state_dict().items()}
    if state.average is not state.network:
        tensors |= {f"average.{name}": value for name, value in state.average.state_dict().items()}
    for number, values in state.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": torch.as_tensor(value) for name, value in values.items()}
    tensors |= {"generator": state.generator.get_state(), "torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors["cuda"] = torch.cuda.get_rng_state()
    on_cpu = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    progress = {"step": state.step, "history": state.history}
    metadata = {"course": json.dumps({**progress, "sha256": tensors_hash(on_cpu, progress)})}
    with atomic_path(path) as partial:
        save_file(on_cpu, partial, metadata=metadata)


def resume_state(state: TrainingState, path: Path) -> bool:
    """Set an initial state, and torch's global generators, to the state in a file.

    Returns:
        False, and nothing is changed, where the file is damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            progress = json.loads(file.metadata()["course"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        if progress.pop("sha256") != tensors_hash(tensors, progress):
            return False
    except (SafetensorError, OSError, ValueError, KeyError, TypeError):
        return False
    state.step, state.history = progress["step"], progress["history"]
    state.network.load_state_dict(_tensors_with_prefix(tensors, "network."))
    if state.average is not state.network:
        state.average.load_state_dict(_tensors_with_prefix(tensors, "average."))
    _restore_optimizer(state.optimizer, _tensors_with_prefix(tensors, "optimizer."))
    state.generator.set_state(tensors["generator"])
    torch.set_rng_state(tensors["torch"])
    if "cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["cuda"])
    return True


def _tensors_with_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for name, value in tensors.items():
        number, _, key = name.partition(".")
        parameter = parameters[int(number)]
        if value.shape == parameter.shape:  # in the layout that the optimizer would have made
            value = torch.empty_like(parameter, requires_grad=False).copy_(value)
        optimizer.state[parameter][key] = value
