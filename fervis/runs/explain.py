"""What the networks of a question make of some faces: results, numbers, and all that a reader must know of them."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from fervis.core.faces import Faces
from fervis.core.layers import layer_or_input
from fervis.core.network import Network
from fervis.core.protocols import NetworkExplainer
from fervis.core.results import ExplainerOutput, Explanation, HeatMaps, join_results
from fervis.core.targets import Target
from fervis.explainers.explain import explain_batches, run_network_explainer
from fervis.models.predict import predict
from fervis.runs.inputs import LoadedCheckpoint, RunInputs, plan_targets
from fervis.runs.setup import RunSetup, image_tensor


def explain_faces(
    asked: RunSetup, looked: RunInputs, some: Faces
) -> tuple[Explanation, Tensor, list[dict[str, float]]]:
    """What every checkpoint's network makes of some faces.

    Returns:
        The explanation; the position [N] among ``some`` of each entry's face, empty where entries are no faces; and the
        numbers of each checkpoint.
    """
    pixels = image_tensor(some, asked)
    probabilities = [predict(ready.network, pixels).cpu() for ready in looked.ready]
    findings = [
        output_of(asked, ready, some, pixels, looked.layers, seen.argmax(1))
        for ready, seen in zip(looked.ready, probabilities, strict=True)
    ]
    numbers = [
        run_metrics(found, some, ready.network.classes, seen.argmax(1))
        for found, ready, seen in zip(findings, looked.ready, probabilities, strict=True)
    ]
    explanation = join_outputs(asked, looked.ready[0].network.classes, some, findings, probabilities)
    nobody = torch.zeros(0, dtype=torch.int64)
    return explanation, torch.cat([nobody if found.who is None else found.who for found in findings]), numbers


def output_of(
    asked: RunSetup, ready: LoadedCheckpoint, some: Faces, pixels: Tensor, layers: list[str], predictions: Tensor
) -> ExplainerOutput:
    """What the question's method says of one network."""
    if isinstance(asked.explainer, NetworkExplainer):
        assert ready.inquiry is not None
        return run_network_explainer(asked.explainer, ready.network, replace(ready.inquiry, images=pixels))
    who, target, words = plan_targets(asked.question.target, some, ready.network, pixels, predictions)
    results = [explain_layer(asked, ready.network, pixels[who], target, name) for name in layers]
    names = tuple(name for name in layers for _ in who)
    return ExplainerOutput(join_results(results), names, words * len(layers), who.repeat(len(layers)))


def explain_layer(asked: RunSetup, network: Network, pixels: Tensor, target: Target, layer: str) -> HeatMaps:
    """Explain the faces at one layer."""
    place = layer_or_input(network, layer, pixels)
    name, seed = str(asked.question.explainer["name"]), asked.question.seed
    assert not isinstance(asked.explainer, NetworkExplainer)
    return explain_batches(asked.explainer, name, network, pixels, target, place, seed=seed)


def run_metrics(
    findings: ExplainerOutput, chosen: Faces, classes: tuple[str, ...], predictions: Tensor
) -> dict[str, float]:
    """How much was explained, how many of the faces were predicted as labelled, and what the method found."""
    numbers: dict[str, float] = {"entries": len(findings.layers)}
    if findings.who is not None:
        labels = [chosen.classes[int(label)] if label >= 0 else "?" for label in chosen.labels[findings.who]]
        guesses = [classes[int(index)] for index in predictions[findings.who]]
        right = sum(label == guess for label, guess in zip(labels, guesses, strict=True))
        numbers = {"explained": len(labels), "explained/accuracy": right / len(labels)}
    if isinstance(findings.result, HeatMaps):
        numbers["strongest_tenth"] = share_of_strongest_tenth(findings.result.maps)
        numbers |= {name: float(values.nanmean()) for name, values in (findings.result.scores or {}).items()}
    return numbers | dict(findings.numbers or {})


def share_of_strongest_tenth(maps: Tensor) -> float:
    """How much of a map's absolute sum lies in its strongest tenth of pixels, mean over [N,H,W]; 0.1 for flat maps."""
    strength = maps.detach().flatten(1).abs().double().sort(1, descending=True).values
    tenth = strength[:, : max(1, round(strength.shape[1] / 10))].sum(1) / strength.sum(1).clamp(min=1e-300)
    return float(tenth.mean())


def join_outputs(
    asked: RunSetup,
    classes: tuple[str, ...],
    chosen: Faces,
    findings: list[ExplainerOutput],
    probabilities: list[Tensor],
) -> Explanation:
    """The findings of every checkpoint as one explanation, entry after entry."""
    nobody = torch.zeros(0, dtype=torch.int64)
    who = [nobody if found.who is None else found.who for found in findings]
    seen = torch.cat([table[places] for table, places in zip(probabilities, who, strict=True)])
    names = [checkpoint.name for checkpoint in asked.checkpoints]
    return Explanation(
        result=join_results([found.result for found in findings]),
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
