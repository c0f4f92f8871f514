"""A trained network for a question: found where it was trained before, else trained now and kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from fervis.core.faces import Faces
from fervis.core.network import Network
from fervis.core.protocols import Model, Trainer, TrainingContext
from fervis.core.seeding import seed_for
from fervis.errors import ConfigError
from fervis.models.state_dicts import read_metadata
from fervis.system.console import log
from fervis.system.files import write_text
from fervis.system.ranks import is_main_process

TRAINING_FORMAT = 1  # raised when the same settings would train another network


def training_key(model: Mapping[str, Any], trainer: Mapping[str, Any], faces: Faces, seed: int, precision: str) -> str:
    """Hex digits over everything that determines a trained network.

    The number of processes is part of it: theirs is the network of one alone up to rounding, not to the bit.
    """
    # One process on one machine is what every training was before there was a choice, and keeps its key.
    trainer = {key: value for key, value in trainer.items() if key not in ("devices", "nodes") or value != 1}
    model = {key: value for key, value in model.items() if key not in ("checkpoint", "weights")}
    told = [TRAINING_FORMAT, model, trainer, training_faces(faces).fingerprint(), seed, precision]
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()


def training_folder(
    outputs: str, model: Mapping[str, Any], trainer: Mapping[str, Any], faces: Faces, seed: int, precision: str
) -> Path:
    """Where a training's checkpoints are kept; other settings, other faces or another seed have another folder."""
    return (
        Path(outputs) / "checkpoints" / f"{model['name']}-{training_key(model, trainer, faces, seed, precision)[:12]}"
    )


def training_faces(faces: Faces) -> Faces:
    """The labelled faces of train and val, which is all a trainer may see.

    Where val has no label (layouts that hold back the answers), every tenth training face is held out in its place.
    """
    seen = faces.take((faces.splits < 2) & (faces.labels >= 0))
    if (seen.splits == 1).any() or not len(seen):
        return seen
    splits = seen.splits.clone()
    splits[9::10] = 1
    return replace(seen, splits=splits)


def train_or_load(
    trainer: Trainer,
    network: Network,
    faces: Faces,
    folder: Path,
    training: TrainingContext,
    turn: AbstractContextManager[Any] | None = None,
) -> dict[str, Any]:
    """Train ``network`` unless ``folder`` holds the whole training; return the record of it.

    The record is ``training.json``, written last: a folder without it was interrupted and goes on. The training is done
    inside ``turn``, which may wait for others and choose the threads.

    Raises:
        ConfigError: the data set has no faces to train on.
    """
    record = folder / "training.json"
    if record.is_file():
        log.info("trained before: %s", folder)
        return json.loads(record.read_text(encoding="utf-8"))
    seen = training_faces(faces)
    train, val = seen.split("train"), seen.split("val")
    if len(train) < 2 or not len(val):
        raise ConfigError(
            f"dataset: it has {len(train)} labelled faces to train on and {len(val)} to validate; "
            "give the network's weights with model.checkpoint=<file>."
        )
    log.info("training on %d faces, choosing the best epoch on %d", len(train), len(val))
    with turn or nullcontext(), torch.random.fork_rng():
        threads = torch.get_num_threads()
        torch.manual_seed(seed_for(training.seed, "training"))  # dropout knows no other generator
        try:
            numbers = dict(trainer.train(network, train, val, folder, training))
        except KeyboardInterrupt as stopped:
            whole = f" of {asdict(trainer)['epochs']}" if "epochs" in asdict(trainer) else " whole"  # pyright: ignore
            stopped.add_note(f"{epochs_saved(folder)}{whole} epochs of the network in training")
            raise
    numbers |= {"trainer": asdict(trainer), "seed": training.seed, "precision": training.precision}  # pyright: ignore
    numbers["threads"] = threads  # the sums of another number of threads are rounded otherwise
    if is_main_process():
        write_text(record, json.dumps(numbers, indent=1) + "\n")
    return numbers


def epochs_saved(folder: Path) -> int:
    """After how many whole epochs a training that was ended early goes on."""
    path = folder / "course.safetensors"
    return len(json.loads(read_metadata(path)["course"])["history"]) if path.is_file() else 0


def checkpoint_file(spec: Any, folder: Path, record: Mapping[str, Any]) -> Path:
    """The file of weights that ``checkpoint=`` means: ``best``, ``last``, an epoch's number or a path.

    Raises:
        ConfigError: there is no such epoch or file.
    """
    epoch = record.get(spec) if spec in ("best", "last") else int(spec) if str(spec).isdecimal() else None
    if epoch is None:
        return Path(str(spec))
    path = folder / f"epoch_{epoch:03d}.safetensors"
    if not path.is_file():
        raise ConfigError(f"checkpoint={spec}: there is no such epoch; this training kept 1 to {record['last']}.")
    return path


def initial_network(model: Model, seed: int, *, channels: int, size: int, classes: tuple[str, ...]) -> Network:
    """A network with its initial weights, which depend on the seed alone."""
    with torch.random.fork_rng():
        torch.manual_seed(seed_for(seed, "weights"))
        return model.build(channels=channels, size=size, classes=classes)
