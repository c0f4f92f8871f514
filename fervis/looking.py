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

from fervis.asked import Asked, pixels_of
from fervis.blocks import WHOLE
from fervis.checkpoints import INITIAL, Checkpoint, epoch_of, epochs_of, history_of
from fervis.contracts import Examiner, Inquiry, TrainingContext
from fervis.engines.parallel import leads
from fervis.engines.passes import Target
from fervis.engines.weights import load_weights
from fervis.errors import WrongQuestion
from fervis.explaining import layer_at, resolve_filter
from fervis.faces import Faces
from fervis.layers import expand
from fervis.locks import alone
from fervis.network import Network
from fervis.record import Record
from fervis.selection import choose_faces, choose_targets, class_target
from fervis.shipped import shipped_epochs
from fervis.threads import every_core
from fervis.training import checkpoint_file, trained, training_folder


@dataclass(frozen=True)
class Ready:
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
    inquiry: Inquiry | None


@dataclass(frozen=True)
class Looked:
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
    ready: list[Ready]


def look(asked: Asked, record: Record, cache: Path) -> Looked:
    """Load the faces, find what was asked for, and get the network of each checkpoint.

    Layers, classes and filters are checked on the untrained network: a mistyped name must not cost a training.
    """
    question = asked.question
    with record.stage("faces"):
        faces = asked.dataset.load(cache)
        record.hashes["data"] = faces.fingerprint()
        chosen = choose_faces(faces, question.split, question.faces)
    network = asked.network(faces).to(asked.device)
    few = chosen.take(torch.arange(min(len(chosen), WHOLE)))
    pixels = pixels_of(few, asked)
    layers = layers_of(asked, network, pixels)
    if not isinstance(asked.explainer, Examiner):
        plan(question.target, few, network, pixels, torch.zeros(len(few), dtype=torch.int64))
    ready = []
    for checkpoint in asked.checkpoints:
        one = asked.network(faces)
        with record.stage("network"):
            numbers = weights_into(one, checkpoint, asked, faces, record)
        one = one.to(asked.device).eval()
        examiner = isinstance(asked.explainer, Examiner)
        inquiry = inquiry_of(asked, checkpoint, one, faces, pixels[:1], layers) if examiner else None
        ready.append(Ready(checkpoint, one, numbers, inquiry))
    return Looked(faces, chosen, layers, ready)


def layers_of(asked: Asked, network: Network, pixels: Tensor) -> list[str]:
    """The names of the layers that the question asks about.

    Raises:
        WrongQuestion: the network has no such layer, or the method can use none.
    """
    if asked.question.layer is not None and not getattr(asked.explainer, "uses_layers", True):
        raise WrongQuestion(
            f"layer={asked.question.layer}: explainer={asked.question.explainer['name']} looks at no layer of its own; "
            "leave layer= away."
        )
    return expand(network, asked.question.layer or asked.explainer.default_layer, pixels[:1])


def plan(
    spec: Any, chosen: Faces, network: Network, pixels: Tensor, predictions: Tensor
) -> tuple[Tensor, Target, tuple[str, ...]]:
    """What ``target=`` means for the chosen faces.

    Returns:
        Positions of the faces to explain [M], the target of each, and its name.
    """
    one_filter = resolve_filter(network, spec, pixels)
    if one_filter is not None:
        return torch.arange(len(chosen)), one_filter, (str(spec),) * len(chosen)
    who, classes = choose_targets(spec, chosen, network.classes, predictions)
    return who, class_target(classes), tuple(network.classes[int(index)] for index in classes)


def weights_into(
    network: Network, checkpoint: Checkpoint, asked: Asked, faces: Faces, record: Record
) -> dict[str, float]:
    """Put a checkpoint's weights into the network, training one first where they are not there yet."""
    path, numbers = checkpoint.weights, {}
    if checkpoint.spec == INITIAL:
        return numbers
    if path is None:
        folder, history = trained_network(asked, faces)
        path = checkpoint_file(checkpoint.spec, folder, history)
        own = epoch_of(folder, path) or (history if checkpoint.spec == "best" else {})
        numbers = {name: float(own[name]) for name in ("val/accuracy",) if name in own}
    load_weights(network, path)
    several = len(asked.checkpoints) > 1
    record.hashes[f"weights {checkpoint.name}" if several else "weights"] = hashlib.sha256(
        path.read_bytes()
    ).hexdigest()
    return numbers


def trained_network(asked: Asked, faces: Faces) -> tuple[Path, dict[str, Any]]:
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
    with alone(Path(question.outputs), folder, "trains this network") if leads() else nullcontext():
        turn = every_core(Path(question.outputs), asked.device)
        return folder, trained(asked.trainer, asked.network(faces), faces, folder, training, turn)


def inquiry_of(
    asked: Asked, checkpoint: Checkpoint, network: Network, faces: Faces, pixels: Tensor, layers: list[str]
) -> Inquiry:
    """What an examination is told beside the network."""
    question = asked.question
    pool = faces.split(question.split)
    epochs, history = kept_epochs(asked, checkpoint, faces)
    return Inquiry(
        images=pixels,
        pool=pool.images,
        rows=pool.rows,
        labels=pool.labels,
        classes=network.classes,
        layers=tuple(layer_at(network, name, pixels) for name in layers),
        target=question.target,
        split=question.split,
        seed=question.seed,
        epochs=epochs,
        history=history,
        quiet=question.quiet,
    )


def kept_epochs(
    asked: Asked, checkpoint: Checkpoint, faces: Faces
) -> tuple[Mapping[int, Path], Mapping[int, Mapping[str, float]]]:
    """The weights and the numbers of every epoch that is kept of the training a checkpoint comes from."""
    if checkpoint.trained:
        folder, _ = trained_network(asked, faces)
        return epochs_of(folder), history_of(folder)
    if asked.frame:
        return shipped_epochs(str(asked.question.model["name"]), str(asked.question.model["weights"])), {}
    return {}, {}
