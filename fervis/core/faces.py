"""Faces as every data set returns them: images as bytes, labels, row numbers and, where known, the ground truth."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

SPLITS = ("train", "val", "test")
FER2013_CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


@dataclass(frozen=True)
class Truth:
    """Ground truth of images that fervis makes, one entry per image.

    Attributes:
        evidence: [N,H,W] bool, pixels that change when the class's action units are switched off, all else equal.
        regions: [N,H,W] uint8, index into ``region_names`` of the part of the face at each pixel.
        region_names: names of the regions; index 0 is the background.
        action_units: [N,A] float32, intensity in [0, 1] of each FACS action unit.
        action_unit_names: names of the A action units, such as ``AU12``.
        attribution: [N,H,W] float32, the exact share of each pixel in the logit of the last class, of networks with
            hand-set weights; None for others.
        persons: [N,2] int64, the identifiers of drawn persons for ``redraw``; None where nothing is drawn again.
        redraw: draws persons [M,2] with other action units [M,A], all else equal: [M,H,W] uint8; or None.
    """

    evidence: Tensor
    regions: Tensor
    region_names: tuple[str, ...]
    action_units: Tensor
    action_unit_names: tuple[str, ...]
    attribution: Tensor | None = None
    persons: Tensor | None = None
    redraw: Callable[[Tensor, Tensor], Tensor] | None = None

    def columns(self) -> dict[str, Tensor]:
        """Return the tensors that have one entry per image, those that are known."""
        columns = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in columns.items() if isinstance(value, Tensor)}

    def take(self, index: Tensor) -> Truth:
        """Return the truth of the faces at these positions."""
        return replace(self, **{name: values[index] for name, values in self.columns().items()})


@dataclass(frozen=True)
class Faces:
    """N faces of the same size; immutable: ``split`` and ``take`` return new objects.

    Attributes:
        images: [N,C,H,W] uint8, C is 1 (grey) or 3 (RGB).
        labels: [N] int64, index into ``classes``.
        rows: [N] int64, the face's number in its data set.
        splits: [N] uint8, index into ``SPLITS``.
        classes: names of the classes in label order.
        votes: [N,V] uint8, number of raters that chose each of ``vote_names``, or None.
        vote_names: names of the votes' columns.
        truth: ground truth from the generator of drawn faces, or None.
        names: name of the file that each face comes from, or None; faces of the same image are numbered.
    """

    images: Tensor
    labels: Tensor
    rows: Tensor
    splits: Tensor
    classes: tuple[str, ...]
    votes: Tensor | None = None
    vote_names: tuple[str, ...] = ()
    truth: Truth | None = None
    names: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: Tensor) -> Faces:
        """Return the faces at these positions (int64) or where this mask (bool) is true, in that order."""
        if index.dtype == torch.bool:
            index = index.nonzero().flatten()
        chosen = {f.name: getattr(self, f.name)[index] for f in fields(self)[:4]}
        votes = None if self.votes is None else self.votes[index]
        names = None if self.names is None else tuple(self.names[position] for position in index.tolist())
        return replace(self, **chosen, votes=votes, truth=self.truth and self.truth.take(index), names=names)

    def joined(self, others: Sequence[Faces]) -> Faces:
        """Return these faces and then the others, of the same data set."""
        parts = [self, *others]
        columns = {f.name: torch.cat([getattr(part, f.name) for part in parts]) for f in fields(self)[:4]}
        votes = [part.votes for part in parts if part.votes is not None]
        truths = [part.truth for part in parts if part.truth is not None]
        names = [name for part in parts for name in part.names or ()]
        joined_truth = {
            name: torch.cat([getattr(truth, name) for truth in truths])
            for name in (truths[0].columns() if truths else ())
        }
        return replace(
            self,
            **columns,
            votes=torch.cat(votes) if votes else None,
            truth=replace(truths[0], **joined_truth) if truths else None,
            names=None if self.names is None else tuple(names),
        )

    def split(self, name: str) -> Faces:
        """Return the faces of ``train``, ``val`` or ``test``; ``all`` returns every face."""
        return self if name == "all" else self.take(self.splits == SPLITS.index(name))

    def label_names(self, index: Tensor | slice = slice(None)) -> list[str]:
        """Return the class of each face at an index; ``?`` where it is unknown."""
        return [self.classes[label] if label >= 0 else "?" for label in self.labels[index].tolist()]

    def fingerprint(self) -> str:
        """Return 64 hex digits that identify these faces: SHA-256 over all that a network can learn from.

        That is images, labels, rows, splits and classes, and the votes with their names where there are any. Names of
        files and the truth of drawn faces do not count.
        """
        digest = hashlib.sha256(repr((tuple(self.images.shape), self.classes)).encode())
        for tensor in (self.images, self.labels, self.rows, self.splits):
            digest.update(tensor.contiguous().numpy().data)
        if self.votes is not None:
            digest.update(repr((tuple(self.votes.shape), str(self.votes.dtype), self.vote_names)).encode())
            digest.update(self.votes.contiguous().numpy().data)
        return digest.hexdigest()
