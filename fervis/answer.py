"""One question from config to answer: find the faces, find or train the network, explain, draw, record."""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fervis.blocks import FOLDER, WHOLE, Blocks, Shard, open_blocks, shard_of
from fervis.checkpoints import INITIAL, Checkpoint, checkpoints, epoch_of, epochs_of, history_of
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
from fervis.record import Record, arrays, installed, is_answered, whole_answer, write_answer
from fervis.registry import build, visualizer_for
from fervis.results import Explanation, Findings, HeatMaps, joined
from fervis.selection import choose_device, choose_faces, choose_precision, choose_targets, class_target
from fervis.shipped import frame, shipped_epochs
from fervis.telling import tell_answer, tell_kept
from fervis.terminal import GOOD
from fervis.threads import choose_threads, computing_with, every_core
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
    shard = shard_of(question.shard)
    place = folder / f"shard {shard.number} of {shard.of}" if shard else folder
    with alone(Path(question.outputs), place, "answers this question"):
        if not question.rerun and is_answered(folder, question.cache):
            log.info("answered before (rerun=true asks again)", extra=GOOD)
            tell_kept(question, card)
        else:
            asked = prepare(question)
            with computing_with(asked.threads):
                answer_anew(asked, folder, card, command)
    return folder


def answer_anew(asked: Asked, folder: Path, card: RunCard, command: str) -> None:
    """Answer a question into its run folder, whatever is there, and tell the tracker; of a shard, keep its blocks."""
    question, cache = asked.question, asked.question.cache
    record = Record(command, card, question.seed, asked.device, asked.precision, asked.threads)
    if asked.shard:
        answer_shard(asked, record, folder)
        return
    asked.tracker.start(card)
    whole = False
    try:
        looked = look(asked, record, cache)
        blocks = blocks_of(asked, record, folder, looked)
        explanation, numbers, contrasts = explained(asked, record, looked, blocks)
        with whole_answer(folder) as staging:
            with record.stage("draw"):
                figures = asked.visualizer.draw(explanation, staging / "figures")
                figures += draw_contrasts(contrasts, explanation, staging / "figures")
            write_answer(staging, record, explanation, numbers, figures, asked.files(), cache, blocks)
        if blocks:
            shutil.rmtree(blocks.folder)
        tell_answer(asked.tracker, card, explanation.faces)
        whole = True
    finally:
        asked.tracker.finish(ok=whole)


def answer_shard(asked: Asked, record: Record, folder: Path) -> None:
    """Explain the blocks of the question's shard, and say what is left to do.

    Raises:
        WrongQuestion: the question is not one of faces.
    """
    if not of_faces(asked):
        raise WrongQuestion(
            f"shard={asked.shard}: explainer={asked.question.explainer['name']} looks at the network as a whole; a "
            "shard is a part of the faces that are explained."
        )
    blocks = blocks_of(asked, record, folder, look(asked, record, asked.question.cache))
    assert blocks is not None
    left = len(blocks.missing())
    if left:
        log.info("shard %s is there; %d of %d blocks are left to the other shards", asked.shard, left, len(blocks))
    else:
        log.info("every shard is there: python -m fervis merge %s", folder)


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


@dataclass(frozen=True)
class Ready:
    """A checkpoint's network with its weights, on its device, ready to be asked.

    Attributes:
        checkpoint: which one.
        network: with its weights.
        numbers: of the training that it comes from.
        inquiry: what an examination is told of it, but for the faces; None for a method that explains faces.
    """

    checkpoint: Checkpoint
    network: Network
    numbers: dict[str, float]
    inquiry: Inquiry | None


@dataclass(frozen=True)
class Looked:
    """All that is needed before anything is explained.

    Attributes:
        faces: of the data set.
        chosen: those that the question is about.
        layers: names of the layers that it is about.
        ready: the network of each checkpoint.
    """

    faces: Faces
    chosen: Faces
    layers: list[str]
    ready: list[Ready]


def look(asked: Asked, record: Record, cache: Path) -> Looked:
    """Load the faces, find what was asked for, and get the network of each checkpoint.

    Layers, classes and filters are checked on the untrained network: a mistyped name must not cost a training.
    """
    question = asked.question
    with record.stage("faces"):
        faces = asked.dataset.load(cache)
        record.hashes["data"] = faces.fingerprint()
        chosen = choose_faces(faces, question.split, question.faces)
    network = asked.network(faces).to(asked.device)
    few = chosen.take(torch.arange(min(len(chosen), WHOLE)))
    pixels = pixels_of(few, asked)
    layers = layers_of(asked, network, pixels)
    if not isinstance(asked.explainer, Examiner):
        plan(question.target, few, network, pixels, torch.zeros(len(few), dtype=torch.int64))
    ready = []
    for checkpoint in asked.checkpoints:
        one = asked.network(faces)
        with record.stage("network"):
            numbers = weights_into(one, checkpoint, asked, faces, record)
        one = one.to(asked.device).eval()
        examiner = isinstance(asked.explainer, Examiner)
        inquiry = inquiry_of(asked, checkpoint, one, faces, pixels[:1], layers) if examiner else None
        ready.append(Ready(checkpoint, one, numbers, inquiry))
    return Looked(faces, chosen, layers, ready)


def of_faces(asked: Asked) -> bool:
    """Whether the method explains face by face, so that many faces can be explained a block at a time."""
    return not isinstance(asked.explainer, Examiner) or getattr(asked.explainer, "by_face", False)


def blocks_of(asked: Asked, record: Record, folder: Path, looked: Looked) -> Blocks | None:
    """The faces explained by blocks, where there are many or some blocks are there already; None for a few.

    Of a shard, its own blocks are explained; else all that are missing.
    """
    begun = (folder / FOLDER / "about.json").is_file()
    if not of_faces(asked) or not (asked.shard or begun or len(looked.chosen) > WHOLE):
        return None
    question = asked.question

    def probe() -> int:
        explanation, _, _ = explain_faces(asked, looked, looked.chosen.take(torch.tensor([0])))
        return sum(values.nbytes for values in arrays(explanation).values())

    key = {
        "question": record.card.id,
        "hashes": record.hashes,
        "versions": {"fervis": version("fervis"), **installed()},
    }
    card = record.card
    told = {"command": record.command, "name": card.name, "id": card.id, "tags": card.tags, "config": card.config}
    groups = len(looked.layers) * len(looked.ready)
    with record.stage("explain"):
        with alone(Path(question.outputs), folder / FOLDER, "opens the blocks of this question"):
            blocks = open_blocks(folder, looked.chosen, groups, probe, key=key, asked=told)
        anew = question.rerun and asked.shard is not None
        blocks.explain(lambda some: explain_faces(asked, looked, some), asked.shard, quiet=question.quiet, anew=anew)
    return blocks


def explained(
    asked: Asked, record: Record, looked: Looked, blocks: Blocks | None
) -> tuple[Explanation, dict[str, float], list[Contrast]]:
    """What is shown and said: of all chosen faces, or of some where they were explained by blocks."""
    with record.stage("explain"):
        if blocks:
            explanation, found = blocks.shown(), blocks.numbers()
        else:
            explanation, _, found = explain_faces(asked, looked, looked.chosen)
    many = len(looked.chosen)
    shown = len(set(explanation.faces.rows.tolist()))
    if blocks and shown < many:
        record.warnings.append(f"Figures and table show {shown:,} of the {many:,} faces; arrays.npz has all of them.")
    numbers: dict[str, float] = {}
    for ready, own in zip(looked.ready, found, strict=True):
        prefix = f"{ready.checkpoint.name}/" if len(looked.ready) > 1 else ""
        numbers |= {f"{prefix}{name}": value for name, value in {**ready.numbers, **own}.items()}
    with record.stage("contrast"):
        pool = looked.faces.split(asked.question.split)
        networks = [ready.network for ready in looked.ready]
        contrasts = contrasts_of(explanation, networks, pool, looked.layers, asked.question.seed, asked.device)
    if len(networks) > 1 and not contrasts:
        split = asked.question.split
        record.warnings.append(f"split={split} has too few faces to contrast the checkpoints' layers on.")
    return explanation, numbers | {name: value for one in contrasts for name, value in one.numbers().items()}, contrasts


def explain_faces(asked: Asked, looked: Looked, some: Faces) -> tuple[Explanation, Tensor, list[dict[str, float]]]:
    """What every checkpoint's network makes of some faces.

    Returns:
        The explanation; the position [N] among ``some`` of each entry's face, empty where entries are no faces; and the
        numbers of each checkpoint.
    """
    pixels = pixels_of(some, asked)
    probabilities = [predict(ready.network, pixels).cpu() for ready in looked.ready]
    findings = [
        findings_of(asked, ready, some, pixels, looked.layers, seen.argmax(1))
        for ready, seen in zip(looked.ready, probabilities, strict=True)
    ]
    numbers = [
        numbers_of(found, some, ready.network.classes, seen.argmax(1))
        for found, ready, seen in zip(findings, looked.ready, probabilities, strict=True)
    ]
    explanation = explanation_of(asked, looked.ready[0].network.classes, some, findings, probabilities)
    nobody = torch.zeros(0, dtype=torch.int64)
    return explanation, torch.cat([nobody if found.who is None else found.who for found in findings]), numbers


def pixels_of(faces: Faces, asked: Asked) -> Tensor:
    """[N,C,H,W] float32 in [0, 1], on the question's device."""
    return faces.images.to(asked.device).float() / 255


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
    asked: Asked, ready: Ready, some: Faces, pixels: Tensor, layers: list[str], predictions: Tensor
) -> Findings:
    """What the question's method says of one network."""
    if isinstance(asked.explainer, Examiner):
        assert ready.inquiry is not None
        return examined(asked.explainer, ready.network, replace(ready.inquiry, images=pixels))
    who, target, words = plan(asked.question.target, some, ready.network, pixels, predictions)
    results = [explain_at(asked, ready.network, pixels[who], target, name) for name in layers]
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
        own = epoch_of(folder, path) or (history if checkpoint.spec == "best" else {})
        numbers = {name: float(own[name]) for name in ("val/accuracy",) if name in own}
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
        turn = every_core(Path(question.outputs), asked.device)
        return folder, trained(asked.trainer, asked.network(faces), faces, folder, training, turn)
