"""Cells of a confusion matrix: the faces of one label that a network takes for one class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fervis.core.targets import class_index, contrasted_class
from fervis.errors import ConfigError
from fervis.models.batch import Batch
from fervis.models.predict import predict

AUTO = "auto"


@dataclass(frozen=True)
class Cell:
    """The faces of a label that are predicted as a class.

    Attributes:
        label: number of the class that they are labelled as.
        predicted: number of the class that they are predicted as.
        positions: [n] int64, their positions in the pool.
    """

    label: int
    predicted: int
    positions: Tensor

    def name(self, classes: Sequence[str]) -> str:
        """Return the cell in words, such as ``fear taken for surprise``."""
        return f"{classes[self.label]} taken for {classes[self.predicted]}"


@dataclass(frozen=True)
class LabelledFaces:
    """Labels and predictions of the faces of a split, as numbers of the network's classes.

    Attributes:
        labels: [M] int64, -1 where the label is unknown or none of the network's classes.
        predictions: [M] int64.
        classes: names of the network's classes.
        split: name of the split.
    """

    labels: Tensor
    predictions: Tensor
    classes: tuple[str, ...]
    split: str

    @classmethod
    def of(cls, batch: Batch) -> LabelledFaces:
        """Predict every face of the pool; an exact copy of another face has no label here, so that it counts once."""
        numbers = {name: number for number, name in enumerate(batch.classes)}
        named = dict(enumerate(batch.classes if batch.data is None else batch.data.classes))
        labels = torch.tensor([numbers.get(named.get(label, ""), -1) for label in batch.labels.tolist()])
        first: dict[bytes, int] = {}
        copies = [first.setdefault(image.tobytes(), n) < n for n, image in enumerate(batch.pool.contiguous().numpy())]
        labels[torch.tensor(copies)] = -1
        predictions = torch.cat([predict(batch.model, images).argmax(1).cpu() for _, images in batch.batches()])
        return cls(labels, predictions, tuple(batch.classes), batch.split)

    def cell(self, label: int, predicted: int) -> Cell:
        """Return the faces of a label that are predicted as a class."""
        inside = (self.labels == label) & (self.predictions == predicted)
        return Cell(label, predicted, inside.nonzero().flatten())

    def counts(self) -> Tensor:
        """Return [K,K] int64, the faces of each label that are predicted as each class."""
        count = len(self.classes)
        known = self.labels >= 0
        cells = self.labels[known] * count + self.predictions[known]
        return cells.bincount(minlength=count * count).reshape(count, count)

    def confused(self, target: Any, against: Any) -> Cell:
        """Return the cell of faces labelled ``target`` that are taken for ``against``.

        Where one of them is ``auto``, it is the one of the cell with most faces off the diagonal.

        Raises:
            ConfigError: an unknown class, the same class twice, or a cell without faces.
        """
        counts = self.counts().fill_diagonal_(-1)
        label = None if target == AUTO else class_index(target, self.classes, (AUTO,))
        other = None if against == AUTO else contrasted_class(against, self.classes)
        if label is not None and label == other:
            raise ConfigError(f"against={against}: it is the target itself; expected another class.")
        if label is not None:
            counts = counts.where(torch.arange(len(counts))[:, None] == label, -1)
        if other is not None:
            counts = counts.where(torch.arange(len(counts))[None] == other, -1)
        if int(counts.max()) <= 0:
            raise self._empty(label, other)
        row, column = divmod(int(counts.argmax()), len(counts))
        return self.cell(row, column)

    def _empty(self, label: int | None, other: int | None) -> ConfigError:
        """Return the error for a cell without faces, with what there is of its row."""
        if label is None:
            whom = "a class for another" if other is None else f"a face of another class for {self.classes[other]}"
            return ConfigError(f"split={self.split}: the network does not take {whom} on any labelled face.")
        name, row = self.classes[label], self.counts()[label]
        if not int(row.sum()):
            return ConfigError(f"target={name}: no face of split={self.split} has this label.")
        listed = ", ".join(f"{self.classes[n]} {int(row[n])}" for n in row.argsort(descending=True).tolist() if row[n])
        wrong = "another class" if other is None else self.classes[other]
        asked = "" if other is None else f" against={self.classes[other]}"
        return ConfigError(
            f"target={name}{asked}: the network takes none of the {int(row.sum())} {name} faces of "
            f"split={self.split} for {wrong}; it takes them for: {listed}."
        )
