"""Training as a task of its own: a question's network is trained, followed by a tracker, assessed and kept."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fervis.core.faces import Faces
from fervis.core.protocols import RunInfo
from fervis.core.registry import option_files, option_summary
from fervis.models.state_dicts import load_weights
from fervis.runs.checkpoints import training_history
from fervis.runs.config import RunConfig, compose_config, to_run_config
from fervis.runs.evaluate import draw_evaluation, evaluate_seeds, evaluate_training, headline
from fervis.runs.inputs import find_training, locate_training
from fervis.runs.setup import build_run
from fervis.runs.track import track_training
from fervis.system.ranks import is_main_process
from fervis.trainers.trained import checkpoint_file


def training_config(overrides: Sequence[str]) -> RunConfig:
    """The question with a network that is trained, whatever weights there are."""
    question = to_run_config(compose_config(overrides))
    question.model |= {"checkpoint": None, **({"weights": None} if "weights" in question.model else {})}
    return question


def model_card_info(question: RunConfig, overrides: Sequence[str]) -> dict[str, Any]:
    """What a network's card is told of its training. Paths of data are left out: they are the reader's own."""
    shown = [override for override in overrides if not override.startswith(("outputs=", "quiet="))]
    shown = ["dataset.path=<path>" if override.startswith("dataset.path=") else override for override in shown]
    return {
        "model": question.model["name"],
        "architecture": option_summary(option_files("model")[question.model["name"]]),
        "dataset": question.dataset["name"],
        "command": " ".join(["python -m fervis train", *shown]),
        "seed": question.seed,
        "trainer": question.trainer,
    }


@dataclass(frozen=True)
class TrainingRun:
    """A trained and assessed network.

    Attributes:
        question: that it was trained for.
        folder: of its checkpoints.
        faces: every split.
        report: of its evaluation; None in a process that only helped to train it.
    """

    question: RunConfig
    folder: Path
    faces: Faces
    report: dict[str, Any] | None


def train_networks(question: RunConfig, facts: Mapping[str, Any], group: str | None = None) -> TrainingRun:
    """Train the question's network unless it is trained already, and assess it once.

    The tracker is told of every epoch as it ends, or of all of them where they ended before; then of the evaluation's
    numbers, the learning curves, the confusion, and the best and the last weights with their card.

    Args:
        question: with a network to train.
        facts: as ``assess_training`` takes them.
        group: the sweep that it belongs to.
    """
    asked = build_run(question)
    faces = asked.dataset.load(question.cache)
    folder, _ = locate_training(asked, faces)
    if not is_main_process():
        find_training(asked, faces)
        return TrainingRun(question, folder, faces, None)
    before = (folder / "training.json").is_file()
    asked.tracker.start(training_info(question, folder, group))
    whole = False
    try:
        _, history = find_training(asked, faces)
        for epoch, numbers in training_history(folder).items() if before else ():
            asked.tracker.log(numbers, epoch=epoch)
        network = asked.network(faces)
        load_weights(network, checkpoint_file("best", folder, history))
        report = evaluate_training(network.to(asked.device), faces, folder, history, facts)
        figures = draw_evaluation(report, folder, history, facts)
        track_training(asked.tracker, folder, history, report, headline(report), figures)
        whole = True
    finally:
        asked.tracker.finish(ok=whole)
    return TrainingRun(question, folder, faces, report)


def training_info(question: RunConfig, folder: Path, group: str | None) -> RunInfo:
    """What a tracker is told of a training."""
    model, dataset = str(question.model["name"]), str(question.dataset["name"])
    return RunInfo(
        name=folder.name,
        id=folder.name.rpartition("-")[2],
        folder=folder,
        config=vars(question),
        group=group,
        job_type="train",
        tags=("train", model, dataset),
    )


def summarize_seeds(trainings: Sequence[TrainingRun], facts: Mapping[str, Any]) -> tuple[dict[str, Any], Path]:
    """The summary of assessed trainings that differ in the seed alone, and the folder in which it is kept.

    The folder is named by the trainings, so that the same ones find it again.

    Args:
        trainings: of ``train``.
        facts: of the first of them, with the command that made them all.
    """
    words = " ".join(training.folder.name for training in trainings)
    digest = hashlib.sha256(words.encode()).hexdigest()[:8]
    folder = Path(trainings[0].question.outputs) / "trainings" / f"{facts['model']}-{facts['dataset']}-{digest}"
    facts = {**facts, "seeds": [training.question.seed for training in trainings]}
    return evaluate_seeds([training.folder for training in trainings], trainings[0].faces, folder, facts), folder
