"""Honest evaluation: every number with its interval, on all images and on those that are fit to be believed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from fervis.engines.fer_layouts.common import class_of
from fervis.engines.metrics import bootstrap, confusion_counts, measure, reliability
from fervis.engines.views import predict_views
from fervis.errors import WrongQuestion
from fervis.faces import SPLITS, Faces
from fervis.network import Network

CONSENSUS = 6
"""Votes of FER+, of ten, that must agree on one emotion."""

SUBSETS = {
    "full": "all labelled images",
    "without_copies": "without the images whose exact pixels stand in train",
    "ferplus": f"images on one emotion of which at least {CONSENSUS} of FER+'s 10 raters agree, held against the label",
    "ferplus_majority": f"images on one of the network's classes of which at least {CONSENSUS} of FER+'s 10 raters "
    "agree, held against that class instead of the label",
}
_NO_EMOTION = ("unknown", "NF")
_SINGLE = ("accuracy", "macro_f1", "ece", "nll", "brier")
_PER_CLASS = ("recall", "precision", "f1")


@dataclass(frozen=True)
class Evaluation:
    """What a classifier is worth.

    Attributes:
        report: plain data for JSON, as ``assess`` describes it.
        probabilities: split -> views -> [N,K] float32 of the split's labelled faces, columns in the order of
            ``report["classes"]``.
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
    """Ask the network about the labelled faces of each split and assess its answers.

    Args:
        network: its choices must have been made before, on ``val`` alone.
        faces: all splits, since copies are looked for in ``train``.
        views: one or several of ``fervis.engines.views.VIEWS``, each assessed by itself.
        seed: of the bootstrap.
        splits: which to look at; those without labelled faces are passed over.
        crop: side of the ten crops, as in ``fervis.engines.views.views``.
        resamples: of the bootstrap.

    Raises:
        WrongQuestion: no split has labelled faces, or the network lacks one of their classes.
    """
    kinds = (views,) if isinstance(views, str) else tuple(views)
    probabilities = {}
    for split in splits:
        asked = labelled(faces, split)
        if len(asked):
            probabilities[split] = {kind: predict_views(network, asked.images, kind, crop=crop) for kind in kinds}
    if not probabilities:
        raise WrongQuestion(f"dataset: it has no labelled faces in {' or '.join(splits)}, so nothing can be evaluated.")
    return assess(probabilities, faces, network.classes, seed=seed, resamples=resamples)


def labelled(faces: Faces, split: str) -> Faces:
    """The faces of a split that have a label."""
    there = faces.split(split)
    return there.take(there.labels >= 0)


def assess(
    probabilities: Mapping[str, Mapping[str, Tensor]],
    faces: Faces,
    classes: tuple[str, ...],
    *,
    seed: int,
    resamples: int = 2000,
    level: float = 0.95,
) -> Evaluation:
    """Assess answers that were given before, such as an ensemble's.

    Args:
        probabilities: split -> views -> [N,K] float for ``labelled(faces, split)``.
        faces: all splits.
        classes: names of the K columns.
        seed: of the bootstrap; every subset draws the same sequence.
        resamples: of the bootstrap.
        level: of the intervals.

    Returns:
        Its ``report`` is::

            classes: [name]
            subsets: {subset: what it is}
            interval: {level, resamples, seed, units}
            data: {split: {n, copies_of_train, identical, ferplus, ferplus_label_agreement}}
            results: {split: {views: {subset: {n, left_out, accuracy, macro_f1, ece, nll, brier,
                     per_class: {name: {recall, precision, f1}}, confusion: {counts, shares}, reliability}}}}

        where each metric is ``{value, low, high, n}``: n is the number of images it is an average over, and a value
        that is not defined is None. ``shares`` are the rows of the confusion matrix as parts of the label's images.
        A subset that holds no image is not there, and those of FER+ only where the faces have its votes.
    """
    at = _columns(faces, classes)
    train = {image.tobytes() for image in _flat(faces.split("train"))}
    report: dict[str, Any] = {
        "classes": list(classes),
        "subsets": {},
        "interval": {"level": level, "resamples": resamples, "seed": seed, "units": "groups of identical images"},
        "data": {},
        "results": {},
    }
    rows = {}
    for split, answers in probabilities.items():
        there = labelled(faces, split)
        pictures = [image.tobytes() for image in _flat(there)]
        names = {picture: number for number, picture in enumerate(dict.fromkeys(pictures))}
        groups = torch.tensor([names[picture] for picture in pictures])
        copies = torch.tensor([picture in train for picture in pictures])
        labels = at[there.labels]
        chosen = {"full": (torch.ones_like(copies), labels), "without_copies": (~copies, labels)}
        data: dict[str, Any] = {"n": len(there), "copies_of_train": int(copies.sum()), "identical": len(there) - len(names)}
        if there.votes is not None:
            emotion, majority = consensus(there.votes, there.vote_names, classes)
            chosen |= {"ferplus": (emotion, labels), "ferplus_majority": (majority >= 0, majority)}
            shared = majority >= 0
            data["ferplus"] = int(emotion.sum())
            data["ferplus_label_agreement"] = _share(labels[shared] == majority[shared])
        report["data"][split], rows[split] = data, there.rows
        report["results"][split] = {kind: {} for kind in answers}
        for kind, answer in answers.items():
            for subset, (mask, truth) in chosen.items():
                if mask.any():
                    report["subsets"][subset] = SUBSETS[subset]
                    generator = Generator().manual_seed(seed)
                    ends = {"resamples": resamples, "level": level, "generator": generator, "groups": groups[mask]}
                    scored = score(answer[mask], truth[mask], classes, **ends)
                    report["results"][split][kind][subset] = {"left_out": int((~mask).sum()), **scored}
    kept = {split: dict(answers) for split, answers in probabilities.items()}
    return Evaluation(report, kept, rows)
