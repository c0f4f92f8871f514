"""Load what a run explains: the faces, the layers, and the network of each checkpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fervis.core.faces import Faces
from fervis.core.layers import Layer, resolve_layers
from fervis.core.network import Network
from fervis.core.protocols import TrainingContext
from fervis.core.results import HeatMaps
from fervis.core.targets import (
    FilterSpec,
    Targets,
    class_index,
    class_targets,
    resolve_filter,
    resolve_targets,
    select_filters,
)
from fervis.datasets.selection import select_faces
from fervis.models.batch import Batch
from fervis.models.hooks import frozen
from fervis.models.predict import are_probabilities, check_logits, predict
from fervis.models.pretrained import pretrained_epochs
from fervis.models.state_dicts import load_weights
from fervis.runs.artifacts import RunMetadata
from fervis.runs.checkpoints import INITIAL_CHECKPOINT, Checkpoint, epoch_numbers, saved_epochs, training_history
from fervis.runs.chunked.chunks import UNCHUNKED_LIMIT
from fervis.runs.setup import RunSetup, image_tensor
from fervis.system.console import log
from fervis.system.hashing import file_hash
from fervis.system.locks import exclusive
from fervis.system.ranks import is_main_process
from fervis.system.threads import all_cores
from fervis.trainers.trained import checkpoint_file, train_or_load, training_folder, training_key

CHECKED_FACES = 256  # labelled faces on which a network of the user's own is checked
FEWEST_CHECKED = 14  # with fewer, hits cannot be distinguished from chance


@dataclass(frozen=True)
class LoadedCheckpoint:
    """A checkpoint's network with its weights, on its device.

    Attributes:
        checkpoint: the checkpoint.
        batch: its network and all else that an explainer needs, without the faces and their targets.
        metrics: metrics of the training that it comes from.
    """

    checkpoint: Checkpoint
    batch: Batch
    metrics: dict[str, float]


@dataclass(frozen=True)
class RunInputs:
    """Data and networks of a run.

    Attributes:
        faces: all faces of the data set.
        selected: the faces that are explained.
        layers: the layers of the run, resolved once.
        checkpoints: the network of each checkpoint.
    """

    faces: Faces
    selected: Faces
    layers: tuple[Layer, ...]
    checkpoints: list[LoadedCheckpoint]


def load_inputs(setup: RunSetup, record: RunMetadata, cache_folder: Path) -> RunInputs:
    """Load the faces, resolve layers and targets, and get the network of each checkpoint.

    Layers, classes and filters are checked on the untrained network: a mistyped name must not cost a training.
    """
    config = setup.config
    with record.stage("faces"):
        faces = setup.dataset.load(cache_folder)
        record.hashes["data"] = faces.fingerprint()
        selected = select_faces(faces, config.split, config.faces)
    network = setup.network(faces).to(setup.device)
    few = selected.take(torch.arange(min(len(selected), UNCHUNKED_LIMIT)))
    pixels = image_tensor(few, setup)
    layers = check_inputs(setup, few, pixels, network)

    @cache
    def training() -> tuple[Path, dict[str, Any]]:
        return find_training(setup, faces)

    loaded = []
    for checkpoint in setup.checkpoints:
        weighted = setup.network(faces)
        with record.stage("network"):
            metrics = _load_weights(weighted, checkpoint, setup, training, record)
        if checkpoint.weights and not checkpoint.shipped:
            metrics |= _checked_accuracy(weighted.to(setup.device), faces.split(config.split), setup, record)
        pool = faces.split(config.split)
        epochs, history = _epochs_of(setup, checkpoint, training)
        batch = Batch(
            model=weighted.to(setup.device).eval(),
            images=pixels[:1],
            layers=layers,
            classes=network.classes,
            seed=config.seed,
            pool=pool.images,
            rows=pool.rows,
            labels=pool.labels,
            split=config.split,
            data=faces,
            target=config.target,
            epochs=epochs,
            history=history,
            quiet=config.quiet,
        )
        loaded.append(LoadedCheckpoint(checkpoint, batch, metrics))
    return RunInputs(faces, selected, layers, loaded)


def check_inputs(setup: RunSetup, faces: Faces, pixels: Tensor, network: Network) -> tuple[Layer, ...]:
    """Check the network, and that layers, filters and classes exist, while it is untrained; return the layers.

    Args:
        setup: of the run.
        faces: some of those that are explained.
        pixels: [N,C,H,W] their images, as the network takes them.
        network: with any weights.

    Raises:
        ConfigError: one of them does not exist, or the explainer cannot explain such a network.
    """
    config = setup.config
    layers = resolve_layers(network, config.layer or setup.explainer.default_layer, pixels[:1])
    if check_network := getattr(setup.explainer, "check_network", None):
        check_network(network, pixels[:1])
    if "filters" in config.explainer and FilterSpec().allows(config.explainer["filters"]):
        for layer in layers:
            select_filters(config.explainer["filters"], layer, layer.channels)
    if setup.explainer.result is HeatMaps:
        predictions = torch.zeros(len(faces), dtype=torch.int64)
        plan_targets(config.target, faces, network, network.classes, pixels, predictions)
    elif "classes" in setup.explainer.takes and config.target not in ("auto", "all"):
        class_index(config.target, network.classes, ("auto",))
    return layers


def plan_targets(
    spec: Any, faces: Faces, model: nn.Module, classes: tuple[str, ...], pixels: Tensor, predictions: Tensor
) -> Targets:
    """Return the targets that ``target=`` means for each of N faces."""
    filters = resolve_filter(model, spec, pixels)
    return filters or class_targets(resolve_targets(spec, faces, classes, predictions))


def _load_weights(
    network: Network, checkpoint: Checkpoint, setup: RunSetup, training: Any, record: RunMetadata
) -> dict[str, float]:
    """Put a checkpoint's weights into the network, training one first where there is none; return its metrics."""
    path, metrics = checkpoint.weights, {}
    if checkpoint.spec == INITIAL_CHECKPOINT:
        return metrics
    if path is None:
        folder, history = training()
        path = checkpoint_file(checkpoint.spec, folder, history)
        numbers = epoch_numbers(folder, path) or (history if checkpoint.spec == "best" else {})
        metrics = {name: float(numbers[name]) for name in ("val/accuracy",) if name in numbers}
    load_weights(network, path)
    several = len(setup.checkpoints) > 1
    name = f"weights {checkpoint.name}" if several else "weights"
    record.hashes[name] = file_hash(path)
    return metrics


def _checked_accuracy(network: Network, pool: Faces, setup: RunSetup, record: RunMetadata) -> dict[str, float]:
    """Measure the accuracy of a network of the user's own on labelled faces of the split; warn at chance level.

    With pixels in another range, another order of classes or damaged weights a network still runs, but its explanations
    are meaningless. Chance level is 1/K; the network counts as above it if its hits exceed the mean of as many random
    guesses by two standard deviations.
    """
    known = torch.tensor([label >= 0 and pool.classes[label] in network.classes for label in pool.labels.tolist()])
    labelled = pool.take(known)
    count = min(len(labelled), CHECKED_FACES)
    if not count:
        return {}
    faces = labelled.take(torch.linspace(0, len(labelled) - 1, count).round().long())
    with frozen(network), torch.no_grad():
        ends_in_softmax = are_probabilities(check_logits(network(image_tensor(faces, setup)[:16])))
    if ends_in_softmax:
        record.warnings.append("The network ends in a softmax; its maps are of probabilities and are called logits.")
    predicted = predict(network, image_tensor(faces, setup)).argmax(1).tolist()
    pairs = zip(predicted, faces.labels.tolist(), strict=True)
    hits = sum(network.classes[guess] == pool.classes[label] for guess, label in pairs)
    chance = 1 / len(network.classes)
    log.info("the network is right for %d of %d labelled faces (split=%s)", hits, count, setup.config.split)
    if count >= FEWEST_CHECKED and hits <= count * chance + 2 * math.sqrt(count * chance * (1 - chance)):
        sentence = (
            f"The network is right for {hits} of {count} labelled faces, which is chance level; check the range of its "
            "pixels (model.pixels), its channels and the order of its classes before believing an explanation."
        )
        record.warnings.append(sentence)
        log.warning(sentence)
    return {"checked/accuracy": hits / count}


def find_training(setup: RunSetup, faces: Faces) -> tuple[Path, dict[str, Any]]:
    """Return the folder of the config's trained network and the record of its training, training it if it is missing.

    A separate network is trained, so that one just trained and one trained earlier compute the same to the bit:
    training may change the memory layout of weights.
    """
    config = setup.config
    folder, key = locate_training(setup, faces)

    def log_epoch(epoch: int, numbers: Mapping[str, float]) -> None:
        if not setup.shard:  # a shard is not tracked
            setup.tracker.log_metrics(numbers, epoch=epoch)

    context = TrainingContext(config.seed, setup.device, setup.precision, log_epoch, config.quiet)
    # Processes that train together do so under the lock of the first.
    with exclusive(Path(config.outputs), folder, "trains this network") if is_main_process() else nullcontext():
        turn = all_cores(Path(config.outputs), setup.device)
        network = setup.network(faces)
        return folder, train_or_load(setup.trainer, network, faces, folder, context, turn, key=key, cache=config.cache)


def locate_training(setup: RunSetup, faces: Faces) -> tuple[Path, str]:
    """Return the folder of the config's trained network, whether it exists or not, and the training's key."""
    config = setup.config
    given = config.model, config.trainer, faces, config.seed, setup.precision
    key = training_key(*given, device=setup.device, cache=config.cache)
    return training_folder(config.outputs, str(config.model["name"]), key), key


def _epochs_of(
    setup: RunSetup, checkpoint: Checkpoint, training: Any
) -> tuple[Mapping[int, Path], Mapping[int, Mapping[str, float]]]:
    """Return the weights and the metrics of every saved epoch of the training that a checkpoint comes from.

    Only explainers of the network read them; of a checkpoint given as a file none are known.
    """
    if setup.explainer.scope != "network":
        return {}, {}
    if checkpoint.trained:
        folder, _ = training()
        return saved_epochs(folder), training_history(folder)
    if setup.pretrained:
        return pretrained_epochs(str(setup.config.model["name"]), str(setup.config.model["weights"])), {}
    return {}, {}
