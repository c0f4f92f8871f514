"""Evaluation of a classifier: every number with its interval, on all images and on the more reliable subsets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Generator, Tensor

from fervis.core.faces import Faces
from fervis.core.network import Network
from fervis.errors import ConfigError
from fervis.metrics.classifier.scores import bootstrap_metrics, confusion_counts, measure_metrics, reliability
from fervis.metrics.classifier.subsets import SUBSETS, evaluation_split, labelled_faces
from fervis.models.predict import predict_tta

SINGLE = ("accuracy", "macro_f1", "ece", "nll", "brier")
PER_CLASS = ("recall", "precision", "f1")


@dataclass(frozen=True)
class Evaluation:
    """The evaluation of a classifier.

    Attributes:
        report: plain data for JSON, as ``evaluate_predictions`` describes it.
        probabilities: split -> views -> [N,K] float32 of the split's labelled faces, columns in the order of
            ``report["classes"]``; what paired tests and ensembles are made of.
        rows: split -> [N] int64, the row numbers of these faces.
    """

    report: dict[str, Any]
    probabilities: dict[str, dict[str, Tensor]]
    rows: dict[str, Tensor]


def evaluate(
    network: Network,
    faces: Faces,
    *,
    views: str | Sequence[str] = "none",
    seed: int,
    splits: Sequence[str] = ("val", "test"),
    crop: int | None = None,
    resamples: int = 2000,
) -> Evaluation:
    """Evaluate a network on the labelled faces of each split.

    Every choice about the network must have been made before, on ``val`` alone: ``test`` is used once.

    Args:
        network: the classifier; it runs on its own device.
        faces: all splits, since copies are searched in ``train``.
        views: one or several of ``fervis.models.predict.TTA_KINDS``, each evaluated separately.
        seed: of the bootstrap.
        splits: which to evaluate on; those without labelled faces are skipped.
        crop: side of the ten crops, as in ``fervis.models.predict.tta_views``.
        resamples: of the bootstrap.

    Raises:
        ConfigError: no split has labelled faces, or the network does not have one of their classes.
    """
    kinds = (views,) if isinstance(views, str) else tuple(views)
    labelled = {split: own for split in splits if len(own := labelled_faces(faces, split))}
    if not labelled:
        raise ConfigError(f"dataset: it has no labelled faces in {' or '.join(splits)}, so nothing can be evaluated.")
    probabilities = {split: predict_tta(network, own.images, kinds, crop=crop) for split, own in labelled.items()}
    return evaluate_predictions(probabilities, faces, network.classes, seed=seed, resamples=resamples)


def evaluate_predictions(
    probabilities: Mapping[str, Mapping[str, Tensor]],
    faces: Faces,
    classes: tuple[str, ...],
    *,
    seed: int,
    resamples: int = 2000,
    level: float = 0.95,
) -> Evaluation:
    """Evaluate given predictions, such as an ensemble's.

    Args:
        probabilities: split -> views -> [N,K] float for the labelled faces of the split, in their order.
        faces: all splits.
        classes: names of the K columns.
        seed: of the bootstrap.
        resamples: of the bootstrap.
        level: of the intervals.

    Returns:
        Its ``report`` is ``classes``, ``subsets`` (name -> what it is), ``interval`` (``level``, ``resamples``,
        ``seed``, ``units``), ``data`` (split -> ``EvaluationSplit.counts``) and ``results`` (split -> views -> subset
        -> what ``score`` gives and ``left_out``, the number of labelled images that are not in the subset).
    """
    parts = {split: evaluation_split(faces, split, classes) for split in probabilities}
    results: dict[str, Any] = {}
    for split, by_kind in probabilities.items():
        results[split] = {kind: {} for kind in by_kind}
        for kind, predicted in by_kind.items():
            for subset, (mask, truth) in parts[split].subsets.items():
                generator = Generator().manual_seed(seed)
                ends = bootstrap_metrics(
                    predicted[mask],
                    truth[mask],
                    resamples=resamples,
                    level=level,
                    generator=generator,
                    groups=parts[split].groups[mask],
                )
                left_out = int((~mask).sum())
                results[split][kind][subset] = {
                    "left_out": left_out,
                    **classifier_scores(predicted[mask], truth[mask], classes, ends),
                }
    report = {
        "classes": list(classes),
        "subsets": {
            name: text for name, text in SUBSETS.items() if any(name in part.subsets for part in parts.values())
        },
        "interval": {"level": level, "resamples": resamples, "seed": seed, "units": "groups of identical images"},
        "data": {split: part.counts for split, part in parts.items()},
        "results": results,
    }
    copied = {split: dict(by_kind) for split, by_kind in probabilities.items()}
    return Evaluation(report, copied, {split: part.faces.rows for split, part in parts.items()})


def classifier_scores(
    probabilities: Tensor, labels: Tensor, classes: Sequence[str], ends: Mapping[str, tuple[Tensor, Tensor]]
) -> dict[str, Any]:
    """Compute the metrics of N images with their intervals, as plain data.

    Returns:
        ``n``; each of ``SINGLE``; ``per_class``: class -> each of ``PER_CLASS``; ``confusion``: ``counts`` [K][K] (row
        the label, column the prediction) and ``shares`` [K][K] of the label's images; ``reliability``, the bins of
        ``ece``. A metric is ``{value, low, high, n}``: n counts its images, and what is undefined is None.
    """
    values, counts = measure_metrics(probabilities, labels), confusion_counts(probabilities, labels)
    occurs, predicted = counts.sum(1).tolist(), counts.sum(0).tolist()

    def metric(name: str, n: int, *index: int) -> dict[str, float | int | None]:
        three = (values[name][index], ends[name][0][index], ends[name][1][index])
        value, low, high = (None if number.isnan() else float(number) for number in three)
        return {"value": value, "low": low, "high": high, "n": n}

    def of_class(index: int) -> dict[str, Any]:
        images = {"recall": occurs[index], "precision": predicted[index], "f1": occurs[index]}
        return {name: metric(name, images[name], index) for name in PER_CLASS}

    every = range(len(classes))
    return {
        "n": len(labels),
        **{name: metric(name, len(labels)) for name in SINGLE},
        "per_class": {name: of_class(index) for index, name in enumerate(classes)},
        "confusion": {
            "counts": counts.tolist(),
            "shares": [[metric("confusion", occurs[row], row, column) for column in every] for row in every],
        },
        "reliability": reliability(probabilities, labels),
    }
