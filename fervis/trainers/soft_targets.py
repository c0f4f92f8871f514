"""Training targets: a distribution over the classes for each face."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fervis.core.faces import Faces
from fervis.datasets.fer2013_formats.schema import class_of
from fervis.errors import ConfigError
from fervis.trainers.mixing import smooth_labels


def training_targets(faces: Faces, *, smoothing: float, votes: bool) -> Tensor:
    """Return [N,K] float32 targets: the smoothed labels, or the raters' votes.

    With ``votes``, a face's target is how its raters voted among the K classes; where fewer than two of them chose any
    of these, its label stands in.

    Raises:
        ConfigError: the faces have no votes.
    """
    labels = smooth_labels(faces.labels, len(faces.classes), smoothing)
    if not votes:
        return labels
    if faces.votes is None:
        raise ConfigError("trainer.votes=true: the faces have no votes; dataset.votes=<fer2013new.csv> joins FER+'s.")
    counts = votes_for(faces.votes, faces.vote_names, faces.classes)
    total = counts.sum(1, keepdim=True)
    shares = counts / total.clamp(min=1)
    return torch.where(total >= 2, shares * (1 - smoothing) + smoothing / len(faces.classes), labels)


def votes_for(votes: Tensor, names: Sequence[str], classes: Sequence[str]) -> Tensor:
    """Return the [N,K] float32 number of raters who chose each of the classes; other choices are left out."""
    shared = [class_of(name) or name for name in names]
    missing = [name for name in classes if name not in shared]
    if missing:
        raise ConfigError(f"trainer.votes=true: the votes have no class {missing[0]}; they have {', '.join(names)}.")
    return votes[:, [shared.index(name) for name in classes]].float()
