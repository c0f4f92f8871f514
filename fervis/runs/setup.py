"""A question with its plug-ins built, so that every wrong setting is found before any work begins."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from fervis.core.faces import Faces
from fervis.core.network import Network
from fervis.core.protocols import Dataset, Explainer, Model, NetworkExplainer, Tracker, Trainer, Visualizer
from fervis.core.registry import build_plugin, visualizer_for
from fervis.errors import ConfigError
from fervis.models.pretrained import build_config
from fervis.runs.checkpoints import Checkpoint, parse_checkpoints
from fervis.runs.chunked.chunks import Shard, parse_shard
from fervis.runs.config import RunConfig
from fervis.system.device import choose_device, choose_precision
from fervis.system.threads import choose_threads
from fervis.trainers.trained import initial_network


@dataclass(frozen=True)
class RunSetup:
    """A question with its plug-ins built, so that every wrong setting is found before any work begins."""

    question: RunConfig
    dataset: Dataset
    model: Model
    trainer: Trainer
    explainer: Explainer | NetworkExplainer
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
        return initial_network(
            self.model,
            self.question.seed,
            channels=told.get("channels", faces.images.shape[1]),
            size=told.get("size", faces.images.shape[2]),
            classes=tuple(told.get("classes", faces.classes)),
        )


def build_run(question: RunConfig) -> RunSetup:
    """Build and check every plug-in of a question.

    Raises:
        ConfigError: an unknown name, a wrong setting, or plug-ins that do not fit together.
    """
    device = choose_device(question.device)
    model = build_plugin("model", question.model)
    asked_for = parse_checkpoints(question, model)
    shipped = next((one.weights for one in asked_for if one.shipped), None)
    told = build_config(shipped) if shipped else None
    model = build_plugin("model", told["model"]) if told else model
    asked = RunSetup(
        question=question,
        dataset=build_plugin("dataset", question.dataset),
        model=model,
        trainer=build_plugin("trainer", question.trainer),
        explainer=build_plugin("explainer", question.explainer),
        visualizer=build_plugin("visualizer", question.visualizer),
        tracker=build_plugin("tracker", question.tracker),
        device=device,
        precision=choose_precision(question.precision, device),
        threads=choose_threads(question.threads),
        checkpoints=asked_for,
        frame=told,
        shard=parse_shard(question.shard),
    )
    if asked.visualizer.kind != asked.explainer.kind:
        raise ConfigError(
            f"visualizer={question.visualizer['name']}: it draws {asked.visualizer.kind}, and explainer="
            f"{question.explainer['name']} gives {asked.explainer.kind}; ask with "
            f"visualizer={visualizer_for(asked.explainer.kind)}."
        )
    return asked


def explains_images(asked: RunSetup) -> bool:
    """Whether the method explains face by face, so that many faces can be explained a block at a time."""
    return not isinstance(asked.explainer, NetworkExplainer) or getattr(asked.explainer, "by_face", False)


def image_tensor(faces: Faces, asked: RunSetup) -> Tensor:
    """[N,C,H,W] float32 in [0, 1], on the question's device."""
    return faces.images.to(asked.device).float() / 255
