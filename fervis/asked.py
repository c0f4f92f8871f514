"""A question with its plug-ins built, so that every wrong setting is found before any work begins."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from fervis.blocks import Shard, shard_of
from fervis.checkpoints import Checkpoint, checkpoints
from fervis.contracts import Dataset, Examiner, Explainer, Model, Tracker, Trainer, Visualizer
from fervis.errors import WrongQuestion
from fervis.faces import Faces
from fervis.network import Network
from fervis.question import Question
from fervis.registry import build, visualizer_for
from fervis.selection import choose_device, choose_precision
from fervis.shipped import frame
from fervis.threads import choose_threads
from fervis.training import untrained


@dataclass(frozen=True)
class Asked:
    """A question with its plug-ins built, so that every wrong setting is found before any work begins."""

    question: Question
    dataset: Dataset
    model: Model
    trainer: Trainer
    explainer: Explainer | Examiner
    visualizer: Visualizer
    tracker: Tracker
    device: str
    precision: str
    threads: int
    checkpoints: tuple[Checkpoint, ...]
    frame: dict[str, Any] | None  # what the shipped network was built for: channels, size, classes
    shard: Shard | None

    def files(self) -> list[Path]:
        """The files that the answer comes from, data and weights."""
        weights = [checkpoint.weights for checkpoint in self.checkpoints if checkpoint.weights]
        return list(dict.fromkeys([*self.dataset.files(), *self.model.files(), *weights]))

    def network(self, faces: Faces) -> Network:
        """The network with its initial weights, for these faces, or for those that a shipped one was trained on."""
        told = self.frame or {}
        return untrained(
            self.model,
            self.question.seed,
            channels=told.get("channels", faces.images.shape[1]),
            size=told.get("size", faces.images.shape[2]),
            classes=tuple(told.get("classes", faces.classes)),
        )


def prepare(question: Question) -> Asked:
    """Build and check every plug-in of a question.

    Raises:
        WrongQuestion: an unknown name, a wrong setting, or plug-ins that do not fit together.
    """
    device = choose_device(question.device)
    model = build("model", question.model)
    asked_for = checkpoints(question, model)
    shipped = next((one.weights for one in asked_for if one.shipped), None)
    told = frame(shipped) if shipped else None
    model = build("model", told["model"]) if told else model
    asked = Asked(
        question=question,
        dataset=build("dataset", question.dataset),
        model=model,
        trainer=build("trainer", question.trainer),
        explainer=build("explainer", question.explainer),
        visualizer=build("visualizer", question.visualizer),
        tracker=build("tracker", question.tracker),
        device=device,
        precision=choose_precision(question.precision, device),
        threads=choose_threads(question.threads),
        checkpoints=asked_for,
        frame=told,
        shard=shard_of(question.shard),
    )
    if asked.visualizer.kind != asked.explainer.kind:
        raise WrongQuestion(
            f"visualizer={question.visualizer['name']}: it draws {asked.visualizer.kind}, and explainer="
            f"{question.explainer['name']} gives {asked.explainer.kind}; ask with "
            f"visualizer={visualizer_for(asked.explainer.kind)}."
        )
    return asked


def of_faces(asked: Asked) -> bool:
    """Whether the method explains face by face, so that many faces can be explained a block at a time."""
    return not isinstance(asked.explainer, Examiner) or getattr(asked.explainer, "by_face", False)


def pixels_of(faces: Faces, asked: Asked) -> Tensor:
    """[N,C,H,W] float32 in [0, 1], on the question's device."""
    return faces.images.to(asked.device).float() / 255
