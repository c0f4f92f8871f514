"""One question from config to answer: find the faces, find or train the network, explain, draw, record."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fervis.contracts import Dataset, Explainer, Model, RunCard, Tracker, Trainer, TrainingContext, Visualizer
from fervis.engines.passes import Target
from fervis.engines.weights import load_weights
from fervis.errors import WrongQuestion, unknown
from fervis.explaining import explain_batches, layer_at, predict, resolve_filter
from fervis.faces import Faces
from fervis.layers import expand
from fervis.network import Network
from fervis.question import Question
from fervis.record import Record, is_answered, label_names, whole_answer, write_answer
from fervis.registry import build, visualizer_for
from fervis.results import Explanation, HeatMaps, joined
from fervis.selection import choose_device, choose_faces, choose_precision, choose_targets, class_target
from fervis.shipped import frame, shipped_file
from fervis.training import checkpoint_file, trained, training_key, untrained

INITIAL = "initial"
log = logging.getLogger("fervis")


@dataclass(frozen=True)
class Asked:
    """A question with its plug-ins built, so that every wrong setting is found before any work begins."""

    question: Question
    dataset: Dataset
    model: Model
    trainer: Trainer
    explainer: Explainer
    visualizer: Visualizer
    tracker: Tracker
    device: str
    precision: str
    weights: Path | None  # a file that the question names, or one that fervis ships, instead of a training
    frame: dict[str, Any] | None  # what the shipped network was built for: channels, size, classes

    def files(self) -> list[Path]:
        """The files that the answer comes from, data and weights."""
        return [*self.dataset.files(), *self.model.files(), *([self.weights] if self.weights else [])]

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


def answer(question: Question, folder: Path, card: RunCard, command: str) -> Path:
    """Answer a question into its run folder, or find that the answer is there.

    Args:
        question: what is asked.
        folder: where the answer is kept; whole when ``summary.json`` stands in it.
        card: what the tracker is told of the run.
        command: the command that asks the same again.

    Returns:
        ``folder``.
    """
    cache = question.cache
    if not question.rerun and is_answered(folder, cache):
        log.info("answered before (rerun=true asks again)")
        return folder
    asked = prepare(question)
    record = Record(command=command, card=card, seed=question.seed, device=asked.device, training=asked.precision)
    asked.tracker.start(card)
    whole = False
    try:
        explanation, numbers = explained(asked, record, cache)
        with whole_answer(folder) as staging:
            with record.stage("draw"):
                figures = asked.visualizer.draw(explanation, staging / "figures")
            write_answer(staging, record, explanation, numbers, figures, asked.files(), cache)
        asked.tracker.log(numbers)
        for figure in figures:
            asked.tracker.picture(figure.path.stem, replace(figure, path=folder / "figures" / figure.path.name))
        whole = True
    finally:
        asked.tracker.finish(ok=whole)
    return folder


def prepare(question: Question) -> Asked:
    """Build and check every plug-in of a question.

    Raises:
        WrongQuestion: an unknown name, a wrong setting, or plug-ins that do not fit together.
    """
    device = choose_device(question.device)
    model = build("model", question.model)
    weights = named_weights(question.checkpoint, model)
    told = None
    if shipped := named_shipped(question, weights):
        weights, told = shipped, frame(shipped)
        model = build("model", told["model"])
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
        weights=weights,
        frame=told,
    )
    if asked.visualizer.kind != asked.explainer.kind:
        raise WrongQuestion(
            f"visualizer={question.visualizer['name']}: it draws {asked.visualizer.kind}, and explainer="
            f"{question.explainer['name']} gives {asked.explainer.kind}; ask with "
            f"visualizer={visualizer_for(asked.explainer.kind)}."
        )
    return asked


def named_weights(checkpoint: Any, model: Model) -> Path | None:
    """The file of weights that the question names, or None where a training gives them.

    Raises:
        WrongQuestion: ``checkpoint`` is neither ``best``, ``last``, ``initial``, an epoch's number nor a file.
    """
    if model.checkpoint:
        return Path(model.checkpoint)
    if checkpoint in ("best", "last", INITIAL) or str(checkpoint).isdecimal():
        return None
    if not Path(str(checkpoint)).is_file():
        raise unknown("checkpoint", checkpoint, ["best", "last", INITIAL, "an epoch's number", "a file of weights"])
    return Path(str(checkpoint))


def named_shipped(question: Question, weights: Path | None) -> Path | None:
    """The file of shipped weights that the question takes, or None."""
    name = question.model.get("weights")
    if weights is not None or question.checkpoint == INITIAL or name in (None, "auto"):
        return None
    return shipped_file(str(question.model["name"]), str(name), question.checkpoint)


def explained(asked: Asked, record: Record, cache: Path) -> tuple[Explanation, dict[str, float]]:
    """Load the faces, get the trained network, and explain what was asked for.

    Layers, classes and filters are checked on the untrained network: a mistyped name must not cost a training.
    """
    question = asked.question
    with record.stage("faces"):
        faces = asked.dataset.load(cache)
        record.hashes["data"] = faces.fingerprint()
        chosen = choose_faces(faces, question.split, question.faces)
    network = asked.network(faces).to(asked.device)
    pixels = chosen.images.to(asked.device).float() / 255
    layers = expand(network, question.layer or asked.explainer.default_layer, pixels[:1])
    plan(question.target, chosen, network, pixels, torch.zeros(len(chosen), dtype=torch.int64))
    with record.stage("network"):
        numbers = weights_into(network, asked, faces, record)
    with record.stage("explain"):
        network.to(asked.device).eval()
        probabilities = predict(network, pixels).cpu()
        who, target, words = plan(question.target, chosen, network, pixels, probabilities.argmax(1))
        results = [explain_at(asked, network, pixels[who], target, name) for name in layers]
    everyone = who.repeat(len(layers))
    explanation = Explanation(
        result=joined(results),
        faces=chosen.take(everyone),
        layers=tuple(name for name in layers for _ in who),
        targets=words * len(layers),
        predictions=probabilities.argmax(1)[everyone],
        probabilities=probabilities[everyone],
        classes=network.classes,
        explainer=str(question.explainer["name"]),
        model=str(question.model["name"]),
        dataset=str(question.dataset["name"]),
    )
    predicted = [network.classes[int(index)] for index in explanation.predictions]
    right = sum(name == guess for name, guess in zip(label_names(explanation), predicted, strict=True))
    return explanation, {**numbers, "explained": len(everyone), "explained/accuracy": right / len(everyone)}


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


def explain_at(asked: Asked, network: Network, pixels: Tensor, target: Target, layer: str) -> HeatMaps:
    """Explain the faces at one layer."""
    place = layer_at(network, layer, pixels)
    name, seed = str(asked.question.explainer["name"]), asked.question.seed
    return explain_batches(asked.explainer, name, network, pixels, target, place, seed=seed)


def weights_into(network: Network, asked: Asked, faces: Faces, record: Record) -> dict[str, float]:
    """Put the asked-for weights into the network, training one first where they are not there yet."""
    path, numbers = asked.weights, {}
    if path is None and asked.question.checkpoint == INITIAL:
        return numbers
    if path is None:
        folder, history = trained_network(asked, faces)
        path = checkpoint_file(asked.question.checkpoint, folder, history)
        numbers = {"val/accuracy": float(history["val/accuracy"])}
    load_weights(network, path)
    record.hashes["weights"] = hashlib.sha256(path.read_bytes()).hexdigest()
    return numbers


def trained_network(asked: Asked, faces: Faces) -> tuple[Path, dict[str, Any]]:
    """The folder of the question's trained network and the record of its training, which is done where it was not.

    A network of its own is trained, so that one just trained and one trained before compute alike to the bit: training
    may lay weights out differently in memory.
    """
    question = asked.question
    key = training_key(question.model, question.trainer, faces, question.seed, asked.precision)
    folder = Path(question.outputs) / "checkpoints" / f"{question.model['name']}-{key[:12]}"

    def follow(epoch: int, numbers: Mapping[str, float]) -> None:
        asked.tracker.log(numbers, epoch=epoch)

    training = TrainingContext(question.seed, asked.device, asked.precision, follow, question.quiet)
    return folder, trained(asked.trainer, asked.network(faces), faces, folder, training)
