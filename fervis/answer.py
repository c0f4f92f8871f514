"""One question from config to answer: find the faces, find or train the network, explain, draw, record."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fervis.checkpoints import INITIAL, Checkpoint, checkpoints, epochs_of, history_of
from fervis.contracts import (
    Dataset,
    Examiner,
    Explainer,
    Inquiry,
    Model,
    RunCard,
    Tracker,
    Trainer,
    TrainingContext,
    Visualizer,
)
from fervis.contrasting import contrasts_of, draw_contrasts
from fervis.engines.contrast import Contrast
from fervis.engines.parallel import leads
from fervis.engines.passes import Target
from fervis.engines.weights import load_weights
from fervis.errors import WrongQuestion
from fervis.explaining import examined, explain_batches, layer_at, predict, resolve_filter
from fervis.faces import Faces
from fervis.layers import expand
from fervis.locks import alone
from fervis.network import Network
from fervis.question import Question
from fervis.record import Record, is_answered, whole_answer, write_answer
from fervis.registry import build, visualizer_for
from fervis.results import Explanation, Findings, HeatMaps, joined
from fervis.selection import choose_device, choose_faces, choose_precision, choose_targets, class_target
from fervis.shipped import frame, shipped_epochs
from fervis.training import checkpoint_file, trained, training_folder, untrained

log = logging.getLogger("fervis")


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
    checkpoints: tuple[Checkpoint, ...]
    frame: dict[str, Any] | None  # what the shipped network was built for: channels, size, classes

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
    with alone(Path(question.outputs), folder, "answers this question"):
        if not question.rerun and is_answered(folder, question.cache):
            log.info("answered before (rerun=true asks again)")
        else:
            answer_anew(prepare(question), folder, card, command)
    return folder


def answer_anew(asked: Asked, folder: Path, card: RunCard, command: str) -> None:
    """Answer a question into its run folder, whatever is there, and tell the tracker."""
    question, cache = asked.question, asked.question.cache
    record = Record(command=command, card=card, seed=question.seed, device=asked.device, training=asked.precision)
    asked.tracker.start(card)
    whole = False
    try:
        explanation, numbers, contrasts = explained(asked, record, cache)
        with whole_answer(folder) as staging:
            with record.stage("draw"):
                figures = asked.visualizer.draw(explanation, staging / "figures")
                figures += draw_contrasts(contrasts, explanation, staging / "figures")
            write_answer(staging, record, explanation, numbers, figures, asked.files(), cache)
        asked.tracker.log(numbers)
        for figure in figures:
            asked.tracker.picture(figure.path.stem, replace(figure, path=folder / "figures" / figure.path.name))
        whole = True
    finally:
        asked.tracker.finish(ok=whole)


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
        checkpoints=asked_for,
        frame=told,
    )
    if asked.visualizer.kind != asked.explainer.kind:
        raise WrongQuestion(
            f"visualizer={question.visualizer['name']}: it draws {asked.visualizer.kind}, and explainer="
            f"{question.explainer['name']} gives {asked.explainer.kind}; ask with "
            f"visualizer={visualizer_for(asked.explainer.kind)}."
        )
    return asked


def explained(asked: Asked, record: Record, cache: Path) -> tuple[Explanation, dict[str, float], list[Contrast]]:
    """Load the faces, get the network of each checkpoint, explain what was asked for, and contrast the checkpoints.

    Layers, classes and filters are checked on the untrained network: a mistyped name must not cost a training.
    """
    question = asked.question
    with record.stage("faces"):
        faces = asked.dataset.load(cache)
        record.hashes["data"] = faces.fingerprint()
        chosen = choose_faces(faces, question.split, question.faces)
    network = asked.network(faces).to(asked.device)
    pixels = chosen.images.to(asked.device).float() / 255
    layers = layers_of(asked, network, pixels)
    if not hasattr(asked.explainer, "examine"):
        plan(question.target, chosen, network, pixels, torch.zeros(len(chosen), dtype=torch.int64))
    networks: list[Network] = []
    findings: list[Findings] = []
    probabilities: list[Tensor] = []
    numbers: dict[str, float] = {}
    for checkpoint in asked.checkpoints:
        one = asked.network(faces)
        with record.stage("network"):
            found = weights_into(one, checkpoint, asked, faces, record)
        with record.stage("explain"):
            networks.append(one.to(asked.device).eval())
            probabilities.append(predict(one, pixels).cpu())
            findings.append(findings_of(asked, checkpoint, one, faces, chosen, layers, probabilities[-1].argmax(1)))
        found |= numbers_of(findings[-1], chosen, one.classes, probabilities[-1].argmax(1))
        prefix = f"{checkpoint.name}/" if len(asked.checkpoints) > 1 else ""
        numbers |= {f"{prefix}{name}": value for name, value in found.items()}
    explanation = explanation_of(asked, network.classes, chosen, findings, probabilities)
    with record.stage("contrast"):
        pool = faces.split(question.split)
        contrasts = contrasts_of(explanation, networks, pool, layers, question.seed, asked.device)
    if len(networks) > 1 and not contrasts:
        record.warnings.append(f"split={question.split} has too few faces to contrast the checkpoints' layers on.")
    return explanation, numbers | {name: value for one in contrasts for name, value in one.numbers().items()}, contrasts


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


def findings_of(
    asked: Asked,
    checkpoint: Checkpoint,
    network: Network,
    faces: Faces,
    chosen: Faces,
    layers: list[str],
    predictions: Tensor,
) -> Findings:
    """What the question's method says of one network."""
    pixels = chosen.images.to(asked.device).float() / 255
    if isinstance(asked.explainer, Examiner):
        return examined(asked.explainer, network, inquiry_of(asked, checkpoint, network, faces, pixels, layers))
    who, target, words = plan(asked.question.target, chosen, network, pixels, predictions)
    results = [explain_at(asked, network, pixels[who], target, name) for name in layers]
    names = tuple(name for name in layers for _ in who)
    return Findings(joined(results), names, words * len(layers), who.repeat(len(layers)))


def numbers_of(findings: Findings, chosen: Faces, classes: tuple[str, ...], predictions: Tensor) -> dict[str, float]:
    """How much was explained, how many of the faces were predicted as labelled, and what the method found."""
    numbers: dict[str, float] = {"entries": len(findings.layers)}
    if findings.who is not None:
        labels = [chosen.classes[int(label)] if label >= 0 else "?" for label in chosen.labels[findings.who]]
        guesses = [classes[int(index)] for index in predictions[findings.who]]
        right = sum(label == guess for label, guess in zip(labels, guesses, strict=True))
        numbers = {"explained": len(labels), "explained/accuracy": right / len(labels)}
    if isinstance(findings.result, HeatMaps):
        numbers["strongest_tenth"] = strongest_tenth(findings.result.maps)
        numbers |= {name: float(values.nanmean()) for name, values in (findings.result.scores or {}).items()}
    return numbers | dict(findings.numbers or {})


def strongest_tenth(maps: Tensor) -> float:
    """How much of a map's absolute sum lies in its strongest tenth of pixels, mean over [N,H,W]; 0.1 for flat maps."""
    strength = maps.detach().flatten(1).abs().double().sort(1, descending=True).values
    tenth = strength[:, : max(1, round(strength.shape[1] / 10))].sum(1) / strength.sum(1).clamp(min=1e-300)
    return float(tenth.mean())


def explanation_of(
    asked: Asked, classes: tuple[str, ...], chosen: Faces, findings: list[Findings], probabilities: list[Tensor]
) -> Explanation:
    """The findings of every checkpoint as one explanation, entry after entry."""
    nobody = torch.zeros(0, dtype=torch.int64)
    who = [nobody if found.who is None else found.who for found in findings]
    seen = torch.cat([table[places] for table, places in zip(probabilities, who, strict=True)])
    names = [checkpoint.name for checkpoint in asked.checkpoints]
    return Explanation(
        result=joined([found.result for found in findings]),
        faces=chosen.take(torch.cat(who)),
        layers=tuple(layer for found in findings for layer in found.layers),
        targets=tuple(target for found in findings for target in found.targets),
        predictions=seen.argmax(1),
        probabilities=seen,
        classes=classes,
        explainer=str(asked.question.explainer["name"]),
        model=str(asked.question.model["name"]),
        dataset=str(asked.question.dataset["name"]),
        checkpoints=tuple(name for name, found in zip(names, findings, strict=True) for _ in found.layers),
    )


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
    assert not isinstance(asked.explainer, Examiner)
    return explain_batches(asked.explainer, name, network, pixels, target, place, seed=seed)


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
        numbers = {"val/accuracy": float(history["val/accuracy"])}
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
        return folder, trained(asked.trainer, asked.network(faces), faces, folder, training)
