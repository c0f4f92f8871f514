"""Subsets of a split to evaluate a classifier on: all images, those not seen in training, those raters agree on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fervis.core.faces import Faces
from fervis.datasets.fer2013_formats.schema import class_of
from fervis.errors import ConfigError

CONSENSUS = 6
"""Votes of FER+, of ten, that must agree on one emotion."""

SUBSETS = {
    "full": "all labelled images",
    "without_copies": "without the images whose exact pixels stand in train",
    "ferplus": f"images for which at least {CONSENSUS} of FER+'s 10 raters chose the same emotion; truth is the label",
    "ferplus_majority": f"images for which at least {CONSENSUS} of FER+'s 10 raters chose the same class of the "
    "network; truth is that class instead of the label",
}
_NO_EMOTION = ("unknown", "NF")


@dataclass(frozen=True)
class EvaluationSplit:
    """The N labelled faces of a split with the subsets to evaluate on.

    Attributes:
        faces: these faces.
        groups: [N] int64, the same number for identical pictures.
        subsets: name, one of ``SUBSETS`` -> [N] bool, whether a face is in it, and [N] int64, its true class (of no
            meaning where it is not).
        counts: ``n``; ``surplus_copies`` within the split; ``copies_of_train``; with votes ``ferplus`` (images of that
            subset) and ``ferplus_label_agreement``, the share of ``ferplus_majority`` whose label is that class.
    """

    faces: Faces
    groups: Tensor
    subsets: dict[str, tuple[Tensor, Tensor]]
    counts: dict[str, Any]


def evaluation_split(faces: Faces, split: str, classes: Sequence[str]) -> EvaluationSplit:
    """Return the labelled faces of a split and the subsets that hold any of them; those of FER+ where there are votes.

    Args:
        faces: all splits, since copies are searched in ``train``.
        split: ``val`` or ``test``.
        classes: the network's; true classes are numbered by them.

    Raises:
        ConfigError: the network has no such class as the faces.
    """
    labelled = labelled_faces(faces, split)
    missing = sorted({faces.classes[label] for label in labelled.labels.unique().tolist()} - set(classes))
    if missing:
        raise ConfigError(f"model: the network has no class {missing[0]}; it has {', '.join(classes)}.")
    number = {name: index for index, name in enumerate(classes)}
    labels = torch.tensor([number.get(name, -1) for name in faces.classes])[labelled.labels]
    pictures, learnt = _bytes(labelled), set(_bytes(faces.split("train")))
    first = {picture: index for index, picture in reversed(list(enumerate(pictures)))}
    copies = torch.tensor([picture in learnt for picture in pictures], dtype=torch.bool)
    subsets = {"full": (torch.ones_like(copies), labels), "without_copies": (~copies, labels)}
    counts: dict[str, Any] = {
        "n": len(labelled),
        "surplus_copies": len(labelled) - len(first),
        "copies_of_train": int(copies.sum()),
    }
    if labelled.votes is not None:
        agreed, majority = rater_consensus(labelled.votes, labelled.vote_names, classes)
        shared = majority >= 0
        subsets |= {"ferplus": (agreed, labels), "ferplus_majority": (shared, majority)}
        agreement = (labels == majority)[shared].double().mean().item() if shared.any() else None
        counts |= {"ferplus": int(agreed.sum()), "ferplus_label_agreement": agreement}
    return EvaluationSplit(
        faces=labelled,
        groups=torch.tensor([first[picture] for picture in pictures], dtype=torch.int64),
        subsets={name: (mask, truth) for name, (mask, truth) in subsets.items() if mask.any()},
        counts=counts,
    )


def labelled_faces(faces: Faces, split: str) -> Faces:
    """Return the faces of a split that have a label."""
    own = faces.split(split)
    return own.take(own.labels >= 0)


def rater_consensus(votes: Tensor, vote_names: Sequence[str], classes: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Find the faces on which the raters agree, and the class.

    Args:
        votes: [N,V] uint8.
        vote_names: names of the V columns, as FER+ or FER2013 call them; ``unknown`` and ``NF`` are no emotions.
        classes: the network's.

    Returns:
        [N] bool, whether one emotion has at least ``CONSENSUS`` votes; [N] int64, its number in ``classes``, -1 where
        there is no consensus or the network has no such class (such as contempt).
    """
    most, column = votes.max(1)
    emotion = torch.tensor([name not in _NO_EMOTION for name in vote_names])
    agreed = (most >= CONSENSUS) & emotion[column]
    named = {class_of(name) or name: index for index, name in enumerate(classes)}
    class_at = torch.tensor([named.get(class_of(name) or name, -1) for name in vote_names])
    return agreed, torch.where(agreed, class_at[column], -1)


def _bytes(faces: Faces) -> list[bytes]:
    return [image.tobytes() for image in faces.images.contiguous().numpy()]
