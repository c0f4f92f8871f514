"""What must be there before anything is explained: the faces, the layers, and the network of each checkpoint."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fervis.core.faces import Faces
from fervis.core.layers import expand_layers, layer_or_input
from fervis.core.network import Network
from fervis.core.protocols import NetworkContext, NetworkExplainer, TrainingContext
from fervis.core.targets import Target, class_target, resolve_filter, resolve_targets
from fervis.datasets.selection import select_faces
from fervis.errors import ConfigError
from fervis.models.pretrained import pretrained_epochs
from fervis.models.state_dicts import load_weights
from fervis.runs.artifacts import RunMetadata
from fervis.runs.checkpoints import INITIAL_CHECKPOINT, Checkpoint, epoch_numbers, saved_epochs, training_history
from fervis.runs.chunked.chunks import UNCHUNKED_LIMIT
from fervis.runs.setup import RunSetup, image_tensor
from fervis.system.locks import exclusive
from fervis.system.ranks import is_main_process
from fervis.system.threads import all_cores
from fervis.trainers.trained import checkpoint_file, train_or_load, training_folder


@dataclass(frozen=True)
class LoadedCheckpoint:
    """A checkpoint's network with its weights, on its device, ready to be asked.

    Attributes:
        checkpoint: which one.
        network: with its weights.
        numbers: of the training that it comes from.
        inquiry: what an examination is told of it, but for the faces; None for a method that explains faces.
    """

    checkpoint: Checkpoint
    network: Network
    numbers: dict[str, float]
    inquiry: NetworkContext | None


@dataclass(frozen=True)
class RunInputs:
    """All that is needed before anything is explained.

    Attributes:
        faces: of the data set.
        chosen: those that the question is about.
        layers: names of the layers that it is about.
        ready: the network of each checkpoint.
    """

    faces: Faces
    chosen: Faces
    layers: list[str]
    ready: list[LoadedCheckpoint]


def load_inputs(asked: RunSetup, record: RunMetadata, cache: Path) -> RunInputs:
    """Load the faces, find what was asked for, and get the network of each checkpoint.

    Layers, classes and filters are checked on the untrained network: a mistyped name must not cost a training.
    """
    question = asked.question
    with record.stage("faces"):
        faces = asked.dataset.load(cache)
        record.hashes["data"] = faces.fingerprint()
        chosen = select_faces(faces, question.split, question.faces)
    network = asked.network(faces).to(asked.device)
    few = chosen.take(torch.arange(min(len(chosen), UNCHUNKED_LIMIT)))
    pixels = image_tensor(few, asked)
    layers = resolve_layer_names(asked, network, pixels)
    if not isinstance(asked.explainer, NetworkExplainer):
        plan_targets(question.target, few, network, pixels, torch.zeros(len(few), dtype=torch.int64))
    ready = []
    for checkpoint in asked.checkpoints:
        one = asked.network(faces)
        with record.stage("network"):
            numbers = load_checkpoint(one, checkpoint, asked, faces, record)
        one = one.to(asked.device).eval()
        examiner = isinstance(asked.explainer, NetworkExplainer)
        inquiry = network_context(asked, checkpoint, one, faces, pixels[:1], layers) if examiner else None
        ready.append(LoadedCheckpoint(checkpoint, one, numbers, inquiry))
    return RunInputs(faces, chosen, layers, ready)


def resolve_layer_names(asked: RunSetup, network: Network, pixels: Tensor) -> list[str]:
    """The names of the layers that the question asks about.

    Raises:
        ConfigError: the network has no such layer, or the method can use none.
    """
    if asked.question.layer is not None and not getattr(asked.explainer, "uses_layers", True):
        raise ConfigError(
            f"layer={asked.question.layer}: explainer={asked.question.explainer['name']} looks at no layer of its own; "
            "leave layer= away."
        )
    return expand_layers(network, asked.question.layer or asked.explainer.default_layer, pixels[:1])


def plan_targets(
    spec: Any, chosen: Faces, network: Network, pixels: Tensor, predictions: Tensor
) -> tuple[Tensor, Target, tuple[str, ...]]:
    """What ``target=`` means for the chosen faces.

    Returns:
        Positions of the faces to explain [M], the target of each, and its name.
    """
    one_filter = resolve_filter(network, spec, pixels)
    if one_filter is not None:
        return torch.arange(len(chosen)), one_filter, (str(spec),) * len(chosen)
    who, classes = resolve_targets(spec, chosen, network.classes, predictions)
    return who, class_target(classes), tuple(network.classes[int(index)] for index in classes)


def load_checkpoint(
    network: Network, checkpoint: Checkpoint, asked: RunSetup, faces: Faces, record: RunMetadata
) -> dict[str, float]:
    """Put a checkpoint's weights into the network, training one first where they are not there yet."""
    path, numbers = checkpoint.weights, {}
    if checkpoint.spec == INITIAL_CHECKPOINT:
        return numbers
    if path is None:
        folder, history = find_training(asked, faces)
        path = checkpoint_file(checkpoint.spec, folder, history)
        own = epoch_numbers(folder, path) or (history if checkpoint.spec == "best" else {})
        numbers = {name: float(own[name]) for name in ("val/accuracy",) if name in own}
    load_weights(network, path)
    several = len(asked.checkpoints) > 1
    record.hashes[f"weights {checkpoint.name}" if several else "weights"] = hashlib.sha256(
        path.read_bytes()
    ).hexdigest()
    return numbers


def find_training(asked: RunSetup, faces: Faces) -> tuple[Path, dict[str, Any]]:
    """The folder of the question's trained network and the record of its training, which is done where it was not.

    A network of its own is trained, so that one just trained and one trained before compute alike to the bit: training
    may lay weights out differently in memory.
    """
    question = asked.question
    given = question.model, question.trainer, faces, question.seed, asked.precision
    folder = training_folder(question.outputs, *given)

    def follow(epoch: int, numbers: Mapping[str, float]) -> None:
        asked.tracker.log(numbers, epoch=epoch)

    training = TrainingContext(question.seed, asked.device, asked.precision, follow, question.quiet)
    # Processes that train together do so under the lock of the first.
    with exclusive(Path(question.outputs), folder, "trains this network") if is_main_process() else nullcontext():
        turn = all_cores(Path(question.outputs), asked.device)
        return folder, train_or_load(asked.trainer, asked.network(faces), faces, folder, training, turn)


def network_context(
    asked: RunSetup, checkpoint: Checkpoint, network: Network, faces: Faces, pixels: Tensor, layers: list[str]
) -> NetworkContext:
    """What an examination is told beside the network."""
    question = asked.question
    pool = faces.split(question.split)
    epochs, history = epochs_of_checkpoint(asked, checkpoint, faces)
    return NetworkContext(
        images=pixels,
        pool=pool.images,
        rows=pool.rows,
        labels=pool.labels,
        classes=network.classes,
        layers=tuple(layer_or_input(network, name, pixels) for name in layers),
        target=question.target,
        split=question.split,
        seed=question.seed,
        epochs=epochs,
        history=history,
        quiet=question.quiet,
    )


def epochs_of_checkpoint(
    asked: RunSetup, checkpoint: Checkpoint, faces: Faces
) -> tuple[Mapping[int, Path], Mapping[int, Mapping[str, float]]]:
    """The weights and the numbers of every epoch that is kept of the training a checkpoint comes from."""
    if checkpoint.trained:
        folder, _ = find_training(asked, faces)
        return saved_epochs(folder), training_history(folder)
    if asked.frame:
        return pretrained_epochs(str(asked.question.model["name"]), str(asked.question.model["weights"])), {}
    return {}, {}
