"""Where a training stands, in one file: everything that the next epoch depends on, so that it goes on to the bit."""

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
        network: what is trained.
        average: the moving average of its weights, or the network itself where none is kept.
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
        """Whole epochs so far."""
        return len(self.history)

    @property
    def best(self) -> int:
        """The epoch of the highest accuracy on val, the earliest of equals."""
        return int(max(self.history, key=lambda row: (row["val/accuracy"], -row["epoch"]))["epoch"])


def new_state(
    network: Network, optimizer: torch.optim.Optimizer, generator: Generator, *, averaged: bool
) -> TrainingState:
    """A course that has not begun."""
    average = copy.deepcopy(network) if averaged else network
    return TrainingState(network, average.requires_grad_(not averaged), optimizer, generator)


def save_state(course: TrainingState, path: Path) -> None:
    """Write the course as one safetensors file, whole or not at all."""
    tensors = {f"network.{name}": value for name, value in course.network.state_dict().items()}
    if course.average is not course.network:
        tensors |= {f"average.{name}": value for name, value in course.average.state_dict().items()}
    for number, state in course.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": torch.as_tensor(value) for name, value in state.items()}
    tensors |= {"generator": course.generator.get_state(), "torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors["cuda"] = torch.cuda.get_rng_state()
    kept = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    plain = {"step": course.step, "history": course.history}
    metadata = {"course": json.dumps({**plain, "sha256": tensors_hash(kept, plain)})}
    with atomic_path(path) as partial:
        save_file(kept, partial, metadata=metadata)


def resume_state(course: TrainingState, path: Path) -> bool:
    """Bring a course that has not begun to where the file says it stood; torch's own generators too.

    Returns:
        False, and nothing is changed, where the file is damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            told = json.loads(file.metadata()["course"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        if told.pop("sha256") != tensors_hash(tensors, told):
            return False
    except (SafetensorError, OSError, ValueError, KeyError, TypeError):
        return False
    course.step, course.history = told["step"], told["history"]
    course.network.load_state_dict(_tensors_with_prefix(tensors, "network."))
    if course.average is not course.network:
        course.average.load_state_dict(_tensors_with_prefix(tensors, "average."))
    _restore_optimizer(course.optimizer, _tensors_with_prefix(tensors, "optimizer."))
    course.generator.set_state(tensors["generator"])
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
