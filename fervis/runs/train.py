"""Train the networks of configs as a task of their own: train, track, evaluate and write the results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fervis.core.faces import Faces
from fervis.core.folders import RunFolder, TrainingFolder
from fervis.core.registry import option_files, option_settings, option_summary
from fervis.models.state_dicts import load_weights
from fervis.runs.checkpoints import training_history
from fervis.runs.config import RunConfig, command_line, compose_config, to_run_config
from fervis.runs.evaluate import evaluate_seeds, evaluate_training
from fervis.runs.inputs import find_training, locate_training
from fervis.runs.setup import build_run
from fervis.runs.track import track_training, training_info
from fervis.system.console import log
from fervis.system.files import write_text
from fervis.system.hashing import digest
from fervis.system.ranks import is_main_process
from fervis.trainers.trained import checkpoint_file


def training_config(overrides: Sequence[str]) -> RunConfig:
    """Return the config of a training: the network is trained even where weights of it are available."""
    composed = compose_config(overrides)
    if "weights" in composed.model:  # the settings are then the user's, and not those of pretrained weights
        composed = compose_config([*overrides, "model.weights=null"])
    config = to_run_config(composed)
    config.model["checkpoint"] = None
    return config


def model_card_info(config: RunConfig, overrides: Sequence[str]) -> dict[str, Any]:
    """Return what a model card states of a training; paths of data are left out, since they differ per machine."""
    shown = [override for override in overrides if not override.startswith(("outputs=", "quiet="))]
    shown = ["dataset.path=<path>" if override.startswith("dataset.path=") else override for override in shown]
    return {
        "model": config.model["name"],
        "architecture": option_summary(option_files("model")[config.model["name"]]),
        "dataset": config.dataset["name"],
        "command": " ".join(["python -m fervis train", *shown]),
        "seed": config.seed,
        "trainer": config.trainer,
    }


@dataclass(frozen=True)
class TrainingRun:
    """A trained and evaluated network.

    Attributes:
        config: the config that it was trained for.
        folder: of its checkpoints.
        faces: every split.
        report: of its evaluation; None in all processes of a distributed training but the main one.
    """

    config: RunConfig
    folder: Path
    faces: Faces
    report: dict[str, Any] | None


def train_networks(config: RunConfig, facts: Mapping[str, Any], group: str | None = None) -> TrainingRun:
    """Train the config's network unless it is trained already, evaluate it once, and track both.

    The tracker receives every epoch as it ends, or all epochs where the network was trained before; then the metrics of
    the evaluation, the learning curves, the confusion matrix, and the best and the last weights with their card.

    Args:
        config: of a network to train.
        facts: as ``evaluate_training`` takes them.
        group: the sweep that the training belongs to.
    """
    setup = build_run(config)
    faces = setup.dataset.load(config.cache)
    folder, _ = locate_training(setup, faces)
    if not is_main_process():
        find_training(setup, faces)
        return TrainingRun(config, folder, faces, None)
    trained_before = TrainingFolder(folder).record.is_file()
    setup.tracker.start(training_info(folder, config.plain(), group))
    ok = False
    try:
        _, record = find_training(setup, faces)
        for epoch, metrics in training_history(folder).items() if trained_before else ():
            setup.tracker.log_metrics(metrics, epoch=epoch)
        write_text(RunFolder(folder).config, yaml.safe_dump(config.plain(), sort_keys=False, allow_unicode=True))
        network = setup.network(faces)
        load_weights(network, checkpoint_file("best", folder, record))
        report = evaluate_training(network.to(setup.device), faces, folder, record, facts)
        track_training(setup.tracker, folder, facts)
        ok = True
    finally:
        setup.tracker.finish(ok=ok)
    log.info("use it with: %s", usage_command(config, checkpoint_file("best", folder, record)))
    return TrainingRun(config, folder, faces, report)


def usage_command(config: RunConfig, weights: Path) -> str:
    """Return the command that explains a trained network, with the settings that its shape depends on.

    Example:
        >>> config = training_config(["model.width=4", "dataset=synthetic"])
        >>> usage_command(config, Path("epoch_003.safetensors"))
        'python -m fervis dataset=synthetic model=vgg8 model.width=4 model.checkpoint=epoch_003.safetensors'
    """
    name, dataset = str(config.model["name"]), str(config.dataset["name"])
    defaults = option_settings("model", name) if name in option_files("model") else {}
    changed = {
        key: value
        for key, value in config.model.items()
        if key not in ("name", "checkpoint", "weights") and value != defaults.get(key)
    }
    settings = [f"model.{key}={value}" for key, value in changed.items()]
    return command_line([f"dataset={dataset}", f"model={name}", *settings, f"model.checkpoint={weights}"])


def summarize_seeds(trainings: Sequence[TrainingRun], facts: Mapping[str, Any]) -> tuple[dict[str, Any], Path]:
    """Summarize evaluated trainings that differ in the seed alone; return the summary and its folder.

    The folder is named by the trainings, so the same trainings have the same folder.

    Args:
        trainings: results of ``train_networks``.
        facts: of the first training, with the command that made them all.
    """
    named = digest([training.folder.name for training in trainings], 8)
    folder = Path(trainings[0].config.outputs) / "trainings" / f"{facts['model']}-{facts['dataset']}-{named}"
    facts = {**facts, "seeds": [training.config.seed for training in trainings]}
    return evaluate_seeds([training.folder for training in trainings], trainings[0].faces, folder, facts), folder
