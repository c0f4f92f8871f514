"""One question from config to answer: find the faces, find or train the network, explain, draw, record."""

from __future__ import annotations

import hashlib
import json
import logging
import platform
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor

from fervis.atomic import whole_file, write_text
from fervis.contracts import Dataset, Explainer, Model, RunCard, Tracker, Trainer, TrainingContext, Visualizer
from fervis.engines.content import content_hash
from fervis.engines.passes import Target
from fervis.engines.weights import load_weights
from fervis.errors import WrongQuestion
from fervis.explaining import explain_batches, layer_at, predict, resolve_filter
from fervis.faces import Faces
from fervis.layers import expand
from fervis.network import Network
from fervis.question import NOT_ASKED, Question
from fervis.registry import build, visualizer_for
from fervis.report import write_report
from fervis.results import Explanation, Figure, HeatMaps
from fervis.selection import choose_device, choose_faces, choose_precision, choose_targets, class_target
from fervis.training import checkpoint_file, trained, training_key, untrained

STAGING = ".partial"
PACKAGES = ("fervis", "torch", "torchvision", "timm", "numpy", "matplotlib", "hydra-core", "omegaconf", "safetensors")
log = logging.getLogger("fervis")


@dataclass
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


@dataclass
class Record:
    """What the manifest tells beside the question: when, how long, from what."""

    started: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    seconds: dict[str, float] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what happens inside."""
        begun = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - begun, 3)


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
    cache = Path(question.outputs) / "cache"
    if not question.rerun and is_answered(folder, cache):
        log.info("answered before (rerun=true asks again): %s", folder)
        return folder
    asked = prepare(question)
    record = Record()
    asked.tracker.start(card)
    try:
        explanation, numbers = explained(asked, record, cache)
        with whole_answer(folder) as staging:
            figures = write_answer(staging, asked, explanation, numbers, record, command, card, cache)
        asked.tracker.log(numbers)
        for figure in figures:
            asked.tracker.picture(figure.path.stem, replace(figure, path=folder / "figures" / figure.path.name))
    except BaseException:
        asked.tracker.finish(ok=False)
        raise
    asked.tracker.finish(ok=True)
    return folder


def prepare(question: Question) -> Asked:
    """Build and check every plug-in of a question."""
    device = choose_device(question.device)
    return Asked(
        question=question,
        dataset=build("dataset", question.dataset),
        model=build("model", question.model),
        trainer=build("trainer", question.trainer),
        explainer=build("explainer", question.explainer),
        visualizer=build("visualizer", question.visualizer),
        tracker=build("tracker", question.tracker),
        device=device,
        precision=choose_precision(question.precision, device),
    )


def explained(asked: Asked, record: Record, cache: Path) -> tuple[Explanation, dict[str, float]]:
    """Load the faces, get the trained network, and explain what was asked for."""
    question = asked.question
    with record.stage("faces"):
        faces = asked.dataset.load(cache)
        chosen = choose_faces(faces, question.split, question.faces)
    record.hashes["data"] = faces.fingerprint()
    network = untrained(asked.model, faces, question.seed).to(asked.device)
    # The layers and the target are checked on the untrained network: a mistyped name must not cost a training.
    pixels = chosen.images.to(asked.device).float() / 255
    layers = expand(network, question.layer or asked.explainer.default_layer, pixels[:1])
    resolve_filter(network, question.target, pixels)
    choose_targets_or_filter(question.target, chosen, network, torch.zeros(len(chosen), dtype=torch.int64), None)
    with record.stage("network"):
        numbers = weights_into(network, asked, faces, record)
        network.to(asked.device).eval()
    with record.stage("explain"):
        probabilities = predict(network, pixels).cpu()
        filter_ = resolve_filter(network, question.target, pixels)
        who, classes = choose_targets_or_filter(question.target, chosen, network, probabilities.argmax(1), filter_)
        parts = []
        for name in layers:
            target = filter_ or class_target(classes)
            place = layer_at(network, name, pixels)
            method = str(question.explainer["name"])
            parts.append(
                explain_batches(asked.explainer, method, network, pixels[who], target, place, seed=question.seed)
            )
    everyone = who.repeat(len(layers))
    words = [str(question.target)] * len(who) if filter_ else [network.classes[int(index)] for index in classes]
    explanation = Explanation(
        result=joined(parts),
        faces=chosen.take(everyone),
        layers=tuple(name for name in layers for _ in who),
        targets=tuple(words) * len(layers),
        predictions=probabilities.argmax(1)[everyone],
        probabilities=probabilities[everyone],
        classes=network.classes,
        explainer=str(question.explainer["name"]),
        model=str(question.model["name"]),
        dataset=str(question.dataset["name"]),
    )
    right = [network.classes[int(p)] == name for p, name in zip(explanation.predictions, label_names(explanation), strict=True)]
    return explanation, {**numbers, "explained": float(len(everyone)), "explained/accuracy": float(np.mean(right))}


def choose_targets_or_filter(
    spec: Any, chosen: Faces, network: Network, predictions: Tensor, filter_: Target | None
) -> tuple[Tensor, Tensor]:
    """Positions of the faces to explain and the class of each; a filter is explained once a face."""
    if filter_ is not None or "/" in str(spec):
        return torch.arange(len(chosen)), torch.zeros(len(chosen), dtype=torch.int64)
    return choose_targets(spec, chosen, network.classes, predictions)


def weights_into(network: Network, asked: Asked, faces: Faces, record: Record) -> dict[str, float]:
    """Put the asked-for weights into the network, training it first where they are not there yet."""
    question = asked.question
    if asked.model.checkpoint:
        path, numbers = Path(asked.model.checkpoint), {}
    elif isinstance(question.checkpoint, str) and "." in question.checkpoint:
        path, numbers = Path(question.checkpoint), {}
    else:
        key = training_key(question.model, question.trainer, faces, question.seed, asked.precision)
        folder = Path(question.outputs) / "checkpoints" / f"{question.model['name']}-{key[:12]}"

        def follow(epoch: int, numbers: Mapping[str, float]) -> None:
            asked.tracker.log(numbers, epoch=epoch)

        training = TrainingContext(question.seed, asked.device, asked.precision, follow, question.quiet)
        told = trained(asked.trainer, network, faces, folder, training)
        path = checkpoint_file(question.checkpoint, folder, told)
        numbers = {"val/accuracy": float(told["val/accuracy"])}
    load_weights(network, path)
    record.hashes["weights"] = hashlib.sha256(path.read_bytes()).hexdigest()
    return numbers


def joined(parts: list[HeatMaps]) -> HeatMaps:
    """The results of several layers as one; its unit is told for all where they differ."""
    if len(parts) == 1:
        return parts[0]
    pixels = [part.maps if part.pixel_maps is None else part.pixel_maps for part in parts]
    inner = any(part.pixel_maps is not None for part in parts)
    units = {part.unit for part in parts}
    return replace(
        parts[0],
        maps=torch.cat([part.maps for part in parts]),
        unit=units.pop() if len(units) == 1 else "|∂ logit / ∂ layer|",
        pixel_maps=torch.cat(pixels) if inner else None,
        pixel_unit=next((part.pixel_unit for part in parts if part.pixel_unit), ""),
    )


def label_names(explanation: Explanation) -> list[str]:
    """The true class of each entry, ``?`` where the data does not tell."""
    return [explanation.faces.classes[int(label)] if label >= 0 else "?" for label in explanation.faces.labels]


def is_answered(folder: Path, cache: Path) -> bool:
    """Whether the folder holds a whole answer, and the files it was made from hold what they held then."""
    if not (folder / "summary.json").is_file():
        return False
    inputs = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["inputs"]
    return all(Path(path).exists() and content_hash(Path(path), cache) == held for path, held in inputs.items())


@contextmanager
def whole_answer(folder: Path) -> Iterator[Path]:
    """Yield an empty folder to write an answer into; move it into ``folder`` when it is whole, ``summary.json`` last."""
    staging = folder / STAGING
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        yield staging
        (folder / "summary.json").unlink(missing_ok=True)
        for path in sorted(staging.iterdir(), key=lambda path: path.name == "summary.json"):
            place = folder / path.name
            if place.is_dir():
                shutil.rmtree(place)
            path.replace(place)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def write_answer(
    folder: Path,
    asked: Asked,
    explanation: Explanation,
    numbers: dict[str, float],
    record: Record,
    command: str,
    card: RunCard,
    cache: Path,
) -> list[Figure]:
    """Write config, arrays, figures, manifest, summary and report into a folder."""
    write_text(folder / "config.yaml", yaml.safe_dump(card.config, sort_keys=False, allow_unicode=True))
    with whole_file(folder / "arrays.npz") as partial:
        np.savez_compressed(partial, **arrays(explanation))
    with record.stage("draw"):
        visualizer = asked.visualizer
        if visualizer.kind != explanation.result.kind:
            fitting = visualizer_for(explanation.result.kind)
            raise WrongQuestion(
                f"visualizer={asked.question.visualizer['name']}: it draws {visualizer.kind}, and "
                f"{explanation.explainer} gives {explanation.result.kind}; ask with visualizer={fitting}."
            )
        figures = visualizer.draw(explanation, folder / "figures")
    sources = [*asked.dataset.files(), *asked.model.files()]
    if isinstance(asked.question.checkpoint, str) and "." in asked.question.checkpoint:
        sources.append(Path(asked.question.checkpoint))
    manifest = {
        "fervis": version("fervis"),
        "command": command,
        "question_id": card.id,
        "versions": {"python": platform.python_version(), **installed()},
        "platform": platform.platform(),
        "hashes": {"config": hashlib.sha256((folder / "config.yaml").read_bytes()).hexdigest(), **record.hashes},
        "inputs": {str(path.resolve()): content_hash(path, cache) for path in sources},
        "seed": asked.question.seed,
        "device": asked.device,
        "precision": {"training": asked.precision, "explaining": "fp32"},
        "started": record.started,
        "seconds": record.seconds,
        "warnings": record.warnings,
    }
    write_text(folder / "manifest.json", json.dumps(manifest, indent=1) + "\n")
    write_text(folder / "summary.json", json.dumps(summary(explanation, numbers, figures), indent=1) + "\n")
    write_report(folder)
    return figures


def arrays(explanation: Explanation) -> dict[str, np.ndarray]:
    """The raw results with all that is needed to read them, one entry a face, layer and target."""
    result = explanation.result
    found = {
        "maps": result.maps.cpu().float().numpy(),
        "rows": explanation.faces.rows.numpy(),
        "labels": explanation.faces.labels.numpy(),
        "predictions": explanation.predictions.numpy(),
        "probabilities": explanation.probabilities.float().numpy(),
        "targets": np.array(explanation.targets),
        "layers": np.array(explanation.layers),
        "classes": np.array(explanation.classes),
    }
    if result.pixel_maps is not None:
        found["pixel_maps"] = result.pixel_maps.cpu().float().numpy()
    return found


def summary(explanation: Explanation, numbers: Mapping[str, float], figures: list[Figure]) -> dict[str, Any]:
    """What an answer says in numbers and words."""
    layers = ", ".join(dict.fromkeys(explanation.layers))
    entries = [
        {
            "row": int(row),
            "label": label,
            "predicted": explanation.classes[int(guess)],
            "probability": round(float(probability[guess]), 6),
            "layer": layer,
            "target": target,
        }
        for row, label, guess, probability, layer, target in zip(
            explanation.faces.rows,
            label_names(explanation),
            explanation.predictions,
            explanation.probabilities,
            explanation.layers,
            explanation.targets,
            strict=True,
        )
    ]
    return {
        "title": f"{explanation.explainer} at {layers} of {explanation.model} on {explanation.dataset}",
        "entries": entries,
        "numbers": dict(numbers),
        "figures": [{"file": f"figures/{figure.path.name}", "caption": figure.caption} for figure in figures],
    }


def installed() -> dict[str, str]:
    """Versions of the packages that an answer depends on."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def asked_config(question: Question) -> dict[str, Any]:
    """The question as plain data, without what a machine or a reader chose."""
    return {key: value for key, value in vars(question).items() if key not in NOT_ASKED}
