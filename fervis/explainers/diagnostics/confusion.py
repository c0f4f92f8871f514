"""Confusion matrix: true against predicted classes, every number with its bootstrap interval."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from torch import Generator, Tensor

from fervis.core.knobs import Choice, Whole
from fervis.core.layers import INPUT
from fervis.core.network import Network
from fervis.core.results import Confusion, ExplainerOutput
from fervis.errors import ConfigError
from fervis.metrics.classifier.confusion import best_and_worst, largest_confusions
from fervis.metrics.classifier.evaluation import PER_CLASS, SINGLE, classifier_scores
from fervis.metrics.classifier.scores import bootstrap_metrics, confusion_counts
from fervis.models.batch import Batch
from fervis.models.fast_inference import fast_forward
from fervis.models.hooks import frozen
from fervis.models.predict import PROBE_IMAGES, TTA_KINDS, tta_views
from fervis.system.progress import progress

PREDICTION_BATCH = 64  # faces per pass


@dataclass
class ConfusionMatrix:
    """Count true and predicted classes over all labelled faces of the split.

    Attributes:
        resamples: number of bootstrap resamples.
        views: views of each face whose probabilities are averaged: ``none`` (the face itself), ``flip`` (and its mirror
            image) or ``tencrop`` (four corners and the centre, and their mirror images).
    """

    resamples: Annotated[int, Whole(20)] = 2000
    views: Annotated[str, Choice(*TTA_KINDS)] = "none"
    result: ClassVar = Confusion
    scope: ClassVar = "network"
    takes: ClassVar = frozenset()
    default_layer: ClassVar = INPUT

    def explain(self, batch: Batch) -> ExplainerOutput:
        """Count the predictions for the labelled faces of the pool; faces labelled -1 are left out.

        Exact copies of an image are resampled together: they are not independent observations. The intervals are those
        of ``metrics.classifier`` for the same seed, so that a figure and the network's model card agree.

        Raises:
            ConfigError: no face has a label, a label is none of the network's classes, or the network does not return
                one logit per class.
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
        labelled = replace(batch, pool=batch.pool[known], rows=batch.rows[known], labels=labels)
        probabilities = self._probabilities(labelled)
        first: dict[bytes, int] = {}
        groups = [first.setdefault(image.tobytes(), len(first)) for image in labelled.pool.contiguous().cpu().numpy()]
        ends = bootstrap_metrics(
            probabilities,
            labels,
            resamples=self.resamples,
            generator=Generator().manual_seed(batch.seed),
            groups=torch.tensor(groups),
        )
        scored = classifier_scores(probabilities, labels, classes, ends)
        low, high = (end[None].float() for end in ends["confusion"])
        metrics = {name: scored[name] for name in ("n", *SINGLE, "per_class")}
        metrics |= {"left_out": int((~known).sum()), "resamples": self.resamples, "views": self.views}
        metrics["words"] = _class_sentences(scored, classes)
        counts = confusion_counts(probabilities, labels)[None]
        result = Confusion(counts, low, high, (metrics,), batch.split)
        return ExplainerOutput(result, ("network",), (f"{len(classes)} classes",), numbers=_confusion_numbers(metrics))

    def _probabilities(self, batch: Batch) -> Tensor:
        """Return [M,K] float32 probabilities of the pool on the CPU, averaged over the views."""
        model = batch.model
        if self.views == "tencrop" and not isinstance(model, Network):
            raise ConfigError("explainer.views=tencrop: the network takes no crops; expected none or flip.")
        probabilities = []
        count = -(-len(batch.pool) // PREDICTION_BATCH)
        first = next(batch.batches(PROBE_IMAGES))[1]
        with frozen(model), torch.no_grad():
            logits = model(first.clone())
            if logits.ndim != 2 or logits.shape[1] != len(batch.classes):
                shape = list(logits.shape)
                raise ConfigError(f"model: its output is {shape}, expected [N,{len(batch.classes)}] logits.")
            with fast_forward(model, first):
                for _, pixels in progress(
                    batch.batches(PREDICTION_BATCH), "confusion", "batch", total=count, quiet=batch.quiet
                ):
                    views = [model(view).float().softmax(1) for view in tta_views(pixels, self.views)]
                    probabilities.append(torch.stack(views).mean(0).cpu())
        return torch.cat(probabilities)


def _class_sentences(scored: dict[str, Any], classes: tuple[str, ...]) -> list[str]:
    """Return sentences on the best and the worst classes and on the largest confusions."""
    cells = scored["confusion"]["shares"]
    shares, low, high = (
        np.array([[np.nan if cell[name] is None else cell[name] for cell in row] for row in cells])
        for name in ("value", "low", "high")
    )
    confused = [sentence for _, _, sentence in largest_confusions(shares, low, high, classes)]
    return best_and_worst(shares, low, high, classes) + confused


def _confusion_numbers(metrics: dict[str, Any]) -> dict[str, float]:
    """Return ``accuracy``, ``accuracy/low``, ``accuracy/high``, ..., ``recall/<class>``, ..., where they are known."""
    numbers = {"faces": float(metrics["n"])}
    for name in SINGLE:
        ends = {f"{name}{end}": metrics[name][key] for end, key in (("", "value"), ("/low", "low"), ("/high", "high"))}
        numbers |= {key: float(value) for key, value in ends.items() if value is not None}
    for name in PER_CLASS:
        values = {f"{name}/{label}": table[name]["value"] for label, table in metrics["per_class"].items()}
        numbers |= {key: float(value) for key, value in values.items() if value is not None}
    return numbers
