"""Confusion: which class the faces of each class are taken for, every number with its bootstrap interval."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Generator, Tensor

from fervis.core.layers import INPUT
from fervis.core.network import Network
from fervis.core.results import Confusion, ExplainerOutput
from fervis.errors import ConfigError, unknown_name
from fervis.metrics.classifier.confusion import best_and_worst, largest_confusions
from fervis.metrics.classifier.evaluation import PER_CLASS, SINGLE, score
from fervis.metrics.classifier.scores import bootstrap_metrics, confusion_counts
from fervis.models.batch import Batch
from fervis.models.fast_inference import fast_forward
from fervis.models.hooks import frozen
from fervis.models.predict import PROBE_IMAGES, TTA_KINDS, tta_views
from fervis.system.progress import progress

LEAST_RESAMPLES = 20
PREDICTION_BATCH = 64  # faces


@dataclass
class ConfusionMatrix:
    """Asks a network about all labelled faces of the split and counts its answers.

    Attributes:
        resamples: of the bootstrap, from 20.
        views: of each face, whose probabilities are averaged: ``none`` (the face itself), ``flip`` (and its mirror
            image) or ``tencrop`` (four corners and the centre, and their mirror images).
    """

    resamples: int = 2000
    views: str = "none"
    result: ClassVar = Confusion
    scope: ClassVar = "network"
    takes: ClassVar = frozenset()
    default_layer: ClassVar = INPUT

    def __post_init__(self) -> None:
        if self.resamples < LEAST_RESAMPLES:
            raise ConfigError(f"explainer.resamples={self.resamples}: expected {LEAST_RESAMPLES} or more.")
        if self.views not in TTA_KINDS:
            raise unknown_name("explainer.views", self.views, TTA_KINDS)

    def explain(self, batch: Batch) -> ExplainerOutput:
        """Count the answers to the labelled faces of the pool; faces labelled -1 are left out.

        Images that are the same to the byte are drawn together by the bootstrap: copies tell no more than one of them.
        The intervals are those of ``metrics.classifier`` for the same seed, so that a figure and the network's
        card say the same.

        Raises:
            ConfigError: no face has a label, a label is none of the network's classes, or the network gives something
                else than one logit a class.
        """
        classes = batch.classes
        known = batch.labels >= 0
        if not known.any():
            raise ConfigError(f"split={batch.split}: no face there has a label, so nothing can be confused.")
        labels = batch.labels[known].cpu()
        if (largest := int(labels.max())) >= len(classes):
            raise ConfigError(
                f"model: its classes are {', '.join(classes)}, and a face has the label {largest}, counting "
                "from 0; the two must be of the same classes."
            )
        asked = replace(batch, pool=batch.pool[known], rows=batch.rows[known], labels=labels)
        probabilities = self._answers(asked)
        first: dict[bytes, int] = {}
        groups = [first.setdefault(image.tobytes(), len(first)) for image in asked.pool.contiguous().cpu().numpy()]
        ends = bootstrap_metrics(
            probabilities,
            labels,
            resamples=self.resamples,
            generator=Generator().manual_seed(batch.seed),
            groups=torch.tensor(groups),
        )
        scored = score(probabilities, labels, classes, ends)
        low, high = (end[None].float() for end in ends["confusion"])
        metrics = {name: scored[name] for name in ("n", *SINGLE, "per_class")}
        metrics |= {"left_out": int((~known).sum()), "resamples": self.resamples, "views": self.views}
        metrics["words"] = _class_sentence(scored, classes)
        counts = confusion_counts(probabilities, labels)[None]
        result = Confusion(counts, low, high, (metrics,), batch.split)
        return ExplainerOutput(result, ("network",), (f"{len(classes)} classes",), numbers=_confusion_numbers(metrics))

    def _answers(self, asked: Batch) -> Tensor:
        """[M,K] float32 probabilities on the CPU, the mean over the views."""
        model = asked.model
        if self.views == "tencrop" and not isinstance(model, Network):
            raise ConfigError("explainer.views=tencrop: the network takes no crops; expected none or flip.")
        found = []
        count = -(-len(asked.pool) // PREDICTION_BATCH)
        first = next(asked.batches(PROBE_IMAGES))[1]
        with frozen(model), torch.no_grad():
            logits = model(first.clone())
            if logits.ndim != 2 or logits.shape[1] != len(asked.classes):
                shape = list(logits.shape)
                raise ConfigError(f"model: its output is {shape}, expected [N,{len(asked.classes)}] logits.")
            with fast_forward(model, first):
                for _, pixels in progress(
                    asked.batches(PREDICTION_BATCH), "confusion", "batch", total=count, quiet=asked.quiet
                ):
                    answers = [model(view).float().softmax(1) for view in tta_views(pixels, self.views)]
                    found.append(torch.stack(answers).mean(0).cpu())
        return torch.cat(found)


def _class_sentence(scored: dict[str, Any], classes: tuple[str, ...]) -> list[str]:
    """Return the best and the worst cells."""
    cells = scored["confusion"]["shares"]
    shares, low, high = (
        np.array([[np.nan if cell[name] is None else cell[name] for cell in row] for row in cells])
        for name in ("value", "low", "high")
    )
    confused = [sentence for _, _, sentence in largest_confusions(shares, low, high, classes)]
    return best_and_worst(shares, low, high, classes) + confused


def _confusion_numbers(metrics: dict[str, Any]) -> dict[str, float]:
    """Return ``accuracy``, ``accuracy/low``, ``accuracy/high``, ..., ``recall/<class>``, ..., where they are known."""
    found = {"faces": float(metrics["n"])}
    for name in SINGLE:
        ends = {f"{name}{end}": metrics[name][key] for end, key in (("", "value"), ("/low", "low"), ("/high", "high"))}
        found |= {key: float(value) for key, value in ends.items() if value is not None}
    for name in PER_CLASS:
        values = {f"{name}/{label}": table[name]["value"] for label, table in metrics["per_class"].items()}
        found |= {key: float(value) for key, value in values.items() if value is not None}
    return found
