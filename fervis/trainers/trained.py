"""Train a network, or load one that the same settings trained before."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from fervis import __version__
from fervis.core.faces import Faces
from fervis.core.fingerprints import plugin_fingerprint
from fervis.core.folders import TrainingFolder
from fervis.core.network import Network
from fervis.core.protocols import Model, Trainer, TrainingContext
from fervis.core.seeding import seed_for
from fervis.errors import ConfigError, RunError
from fervis.models.state_dicts import read_metadata
from fervis.system.console import log
from fervis.system.files import read_json, write_json
from fervis.system.hashing import damaged_files, digest, file_hash
from fervis.system.ranks import is_main_process
from fervis.system.threads import training_machine

TRAINING_FORMAT = 2  # raised when the same settings would train another network


def training_key(
    model: Mapping[str, Any],
    trainer: Mapping[str, Any],
    faces: Faces,
    seed: int,
    precision: str,
    *,
    device: str = "cpu",
    cache: Path = Path("outputs/cache"),
) -> str:
    """Return 64 hex digits over everything that determines a trained network, files by their content.

    The number of processes is part of it: theirs is the network of a single process up to rounding, not to the bit. So
    are the kind of device and, of a CPU, the number of cores: rounding grows over a training.

    Args:
        model: settings of the network.
        trainer: settings of the training.
        faces: of all splits.
        seed: root of all randomness.
        precision: ``bf16`` or ``fp32``.
        device: of the training.
        cache: folder that remembers the hashes of files.
    """
    trainer = {"devices": 1, "nodes": 1, **trainer}
    model = {key: value for key, value in model.items() if key not in ("checkpoint", "weights")}
    parts = [
        TRAINING_FORMAT,
        __version__,
        plugin_fingerprint("model", model, cache),
        plugin_fingerprint("trainer", trainer, cache),
        training_faces(faces).fingerprint(),
        seed,
        precision,
        training_machine(device),
    ]
    return digest(parts)


def training_folder(outputs: str, name: str, key: str) -> Path:
    """Return where a training's checkpoints are stored, of a network of this name."""
    return Path(outputs) / "checkpoints" / f"{name}-{key[:12]}"


def training_faces(faces: Faces) -> Faces:
    """Return the labelled faces of train and val, which is all a trainer may see.

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
    *,
    key: str = "",
    cache: Path | None = None,
) -> dict[str, Any]:
    """Train ``network`` unless ``folder`` holds the complete and intact training; return its record.

    The record is ``training.json``, written last: a folder without it was interrupted, and its training is resumed. A
    training whose weights are damaged is done again.

    Args:
        trainer: trains.
        network: with its initial weights.
        faces: of all splits.
        folder: of the training.
        training: seed, device and precision.
        turn: entered while it trains; may wait for other processes and choose the threads.
        key: of the training, stored and compared.
        cache: folder that remembers which files were intact.

    Raises:
        ConfigError: the data set has no faces to train on.
    """
    files = TrainingFolder(folder)
    cache = cache or folder
    if (record := read_training_record(folder, key, cache)) is not None:
        log.info("trained before: %s", folder)
        return record
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
        torch.manual_seed(seed_for(training.seed, "training"))  # dropout uses no other generator
        try:
            numbers = dict(trainer.train(network, train, val, folder, training))
        except KeyboardInterrupt as stopped:
            whole = f" of {asdict(trainer)['epochs']}" if "epochs" in asdict(trainer) else " whole"  # pyright: ignore
            stopped.add_note(f"{epochs_saved(folder)}{whole} epochs of the network in training")
            raise
    numbers |= {"trainer": asdict(trainer), "seed": training.seed, "precision": training.precision}  # pyright: ignore
    numbers |= {"threads": threads, "key": key}  # the sums of another number of threads are rounded otherwise
    if is_main_process():
        numbers["files"] = {path.name: file_hash(path) for path in files.epochs().values()}
        write_json(files.record, {**numbers, "sha256": digest(numbers)})
    return numbers


def read_training_record(folder: Path, key: str, cache: Path) -> dict[str, Any] | None:
    """Return the record of a training that is complete and intact; None where it is to be done or resumed.

    What is damaged, or of another key, is removed, so that the training begins from the start.
    """
    files = TrainingFolder(folder)
    if not files.record.is_file():
        return None
    try:
        record = read_json(files.record)
        damaged = damaged_files(folder, record["files"], cache)
        if record["sha256"] != digest({name: value for name, value in record.items() if name != "sha256"}):
            damaged = [files.RECORD]
    except (RunError, OSError, KeyError, TypeError, AttributeError):
        record, damaged = {"key": key}, [files.RECORD]
    if record["key"] == key and not damaged:
        return record
    if is_main_process():  # others that train with it see the same, or no record any more
        log.warning("%s: %s; the network is trained again", folder, _describe_damage(damaged))
        shutil.rmtree(folder)
    return None


def _describe_damage(damaged: list[str]) -> str:
    if not damaged:
        return "it is of another training"
    return f"{', '.join(damaged)} {'is' if len(damaged) == 1 else 'are'} damaged or missing"


def epochs_saved(folder: Path) -> int:
    """After how many whole epochs a training that was ended early goes on."""
    path = TrainingFolder(folder).state
    return len(json.loads(read_metadata(path)["course"])["history"]) if path.is_file() else 0


def checkpoint_file(spec: Any, folder: Path, record: Mapping[str, Any]) -> Path:
    """Return the file of weights that ``checkpoint=`` means: ``best``, ``last``, an epoch's number or a path.

    Raises:
        ConfigError: there is no such epoch or file.
    """
    epoch = record.get(spec) if spec in ("best", "last") else int(spec) if str(spec).isdecimal() else None
    if epoch is None:
        return Path(str(spec))
    path = TrainingFolder(folder).epoch(epoch)
    if not path.is_file():
        raise ConfigError(f"checkpoint={spec}: there is no such epoch; this training kept 1 to {record['last']}.")
    return path


def initial_network(model: Model, seed: int, *, channels: int, size: int, classes: tuple[str, ...]) -> Network:
    """Build a network with its initial weights, which depend on the seed alone."""
    with torch.random.fork_rng():
        torch.manual_seed(seed_for(seed, "weights"))
        return model.build(channels=channels, size=size, classes=classes)
