"""Training as a task of its own: a question's network is trained, followed by a tracker, assessed and kept."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fervis.asked import prepare
from fervis.assessment import assess_runs, assess_training, draw_training, headline
from fervis.checkpoints import history_of
from fervis.contracts import RunCard
from fervis.engines.parallel import leads
from fervis.engines.weights import load_weights
from fervis.faces import Faces
from fervis.looking import trained_network
from fervis.question import Question
from fervis.telling import tell_training
from fervis.training import checkpoint_file, training_folder


@dataclass(frozen=True)
class Training:
    """A trained and assessed network.

    Attributes:
        question: that it was trained for.
        folder: of its checkpoints.
        faces: every split.
        report: of its evaluation; None in a process that only helped to train it.
    """

    question: Question
    folder: Path
    faces: Faces
    report: dict[str, Any] | None


def train(question: Question, facts: Mapping[str, Any], group: str | None = None) -> Training:
    """Train the question's network unless it is trained already, and assess it once.

    The tracker is told of every epoch as it ends, or of all of them where they ended before; then of the evaluation's
    numbers, the learning curves, the confusion, and the best and the last weights with their card.

    Args:
        question: with a network to train.
        facts: as ``assess_training`` takes them.
        group: the sweep that it belongs to.
    """
    asked = prepare(question)
    faces = asked.dataset.load(question.cache)
    folder = training_folder(question.outputs, question.model, question.trainer, faces, question.seed, asked.precision)
    if not leads():
        trained_network(asked, faces)
        return Training(question, folder, faces, None)
    before = (folder / "training.json").is_file()
    asked.tracker.start(card(question, folder, group))
    whole = False
    try:
        _, history = trained_network(asked, faces)
        for epoch, numbers in history_of(folder).items() if before else ():
            asked.tracker.log(numbers, epoch=epoch)
        network = asked.network(faces)
        load_weights(network, checkpoint_file("best", folder, history))
        report = assess_training(network.to(asked.device), faces, folder, history, facts)
        figures = draw_training(report, folder, history, facts)
        tell_training(asked.tracker, folder, history, report, headline(report), figures)
        whole = True
    finally:
        asked.tracker.finish(ok=whole)
    return Training(question, folder, faces, report)


def card(question: Question, folder: Path, group: str | None) -> RunCard:
    """What a tracker is told of a training."""
    model, dataset = str(question.model["name"]), str(question.dataset["name"])
    return RunCard(
        name=folder.name,
        id=folder.name.rpartition("-")[2],
        folder=folder,
        config=vars(question),
        group=group,
        job_type="train",
        tags=("train", model, dataset),
    )


def gather(trainings: Sequence[Training], facts: Mapping[str, Any]) -> tuple[dict[str, Any], Path]:
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
    return assess_runs([training.folder for training in trainings], trainings[0].faces, folder, facts), folder
