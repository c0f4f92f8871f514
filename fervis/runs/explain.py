"""Explain images with the network of every checkpoint of a run, and summarize the result in metrics."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from fervis.core.faces import Faces
from fervis.core.results import ExplainerOutput, Explanation, HeatMaps, join_results
from fervis.explainers.explain import explain_batch
from fervis.models.batch import Batch
from fervis.runs.inputs import RunInputs, plan_targets
from fervis.runs.multirun.shared import predict_shared
from fervis.runs.setup import RunSetup, image_tensor


def explain_faces(
    setup: RunSetup, inputs: RunInputs, faces: Faces
) -> tuple[Explanation, Tensor, list[dict[str, float]]]:
    """Explain some faces with every checkpoint's network.

    Returns:
        The explanation; the position [N] among ``faces`` of each entry's face, empty where entries are no faces; and
        the metrics of each checkpoint.
    """
    pixels = image_tensor(faces, setup)
    shared = [predict_shared(loaded.batch.model, pixels) for loaded in inputs.checkpoints]
    probabilities = [predicted for predicted, _ in shared]
    outputs = [
        output_of(setup, replace(loaded.batch, images=pixels, shared=passes), faces, predicted.argmax(1))
        for loaded, (predicted, passes) in zip(inputs.checkpoints, shared, strict=True)
    ]
    metrics = [
        run_metrics(output, faces, loaded.batch.classes, predicted.argmax(1))
        for output, loaded, predicted in zip(outputs, inputs.checkpoints, probabilities, strict=True)
    ]
    explanation = join_outputs(setup, inputs.checkpoints[0].batch.classes, faces, outputs, probabilities)
    return explanation, torch.cat([_faces_of(output) for output in outputs]), metrics


def output_of(setup: RunSetup, batch: Batch, faces: Faces, predictions: Tensor) -> ExplainerOutput:
    """Explain some faces, whose pixels are the images of the batch."""
    batch = replace(batch, truth=faces.truth, image_labels=faces.labels)
    if setup.explainer.result is HeatMaps:
        targets = plan_targets(setup.config.target, faces, batch.model, batch.classes, batch.images, predictions)
        batch = replace(batch, targets=targets)
    return explain_batch(setup.explainer, batch)


def run_metrics(
    output: ExplainerOutput, faces: Faces, classes: tuple[str, ...], predictions: Tensor
) -> dict[str, float]:
    """Return how many entries were explained, the accuracy on their faces, and what the method measured."""
    metrics: dict[str, float] = {"entries": len(output.layers)}
    if output.images is not None:
        labels = faces.label_names(output.images)
        predicted = [classes[int(index)] for index in predictions[output.images]]
        right = sum(label == guess for label, guess in zip(labels, predicted, strict=True))
        metrics = {"explained": len(labels), "explained/accuracy": right / len(labels)}
    if isinstance(output.result, HeatMaps):
        metrics["strongest_tenth"] = share_of_strongest_tenth(output.result.maps)
        metrics |= {name: float(values.nanmean()) for name, values in (output.result.scores or {}).items()}
    return metrics | dict(output.numbers or {})


def share_of_strongest_tenth(maps: Tensor) -> float:
    """Return the share of a map's absolute sum in its strongest tenth of pixels, mean over [N,H,W]; 0.1 if flat."""
    strength = maps.detach().flatten(1).abs().double().sort(1, descending=True).values
    tenth = strength[:, : max(1, round(strength.shape[1] / 10))].sum(1) / strength.sum(1).clamp(min=1e-300)
    return float(tenth.mean())


def join_outputs(
    setup: RunSetup,
    classes: tuple[str, ...],
    faces: Faces,
    outputs: list[ExplainerOutput],
    probabilities: list[Tensor],
) -> Explanation:
    """Join the outputs of every checkpoint into one explanation, entry after entry."""
    positions = [_faces_of(output) for output in outputs]
    seen = torch.cat([table[index] for table, index in zip(probabilities, positions, strict=True)])
    names = [checkpoint.name for checkpoint in setup.checkpoints]
    return Explanation(
        result=join_results([output.result for output in outputs]),
        faces=faces.take(torch.cat(positions)),
        layers=tuple(layer for output in outputs for layer in output.layers),
        targets=tuple(target for output in outputs for target in output.targets),
        predictions=seen.argmax(1),
        probabilities=seen,
        classes=classes,
        explainer=str(setup.config.explainer["name"]),
        model=str(setup.config.model["name"]),
        dataset=str(setup.config.dataset["name"]),
        checkpoints=tuple(name for name, output in zip(names, outputs, strict=True) for _ in output.layers),
    )


def _faces_of(output: ExplainerOutput) -> Tensor:
    return torch.zeros(0, dtype=torch.int64) if output.images is None else output.images
