"""Kinds of results beside heat maps: filter images, feature maps, top activations, confusion, progress."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fervis.core.results.result import SHARED, as_array, finite_number, tensor_arrays


@dataclass(frozen=True)
class FilterImages:
    """Images that were climbed up an objective: one an entry, for a filter or a class.

    Attributes:
        images: [N,C,H,W] float32 in [0, 1], at the network's own size.
        reached: [N] float32, the objective at the image.
        noise: [N] float32, the mean objective at noise images of the same brightness and contrast as faces.
        strongest: [N] float32, the highest objective over the real faces, NaN where there were none.
        strongest_rows: [N] int64, the row of that face, or -1.
        trace: [N,S] float32, the objective at each step.
        numbers: name -> [N] float32, further numbers of each image, such as its mean frequency.
        unit: what the objective is, in words.
        pairs: name -> N tensors, how each image compares with the others of its layer, where the explainer was to look
            for flipped and turned copies: ``fervis.metrics.representation.image_symmetry.SymmetricPairs.rows``.
    """

    images: Tensor
    reached: Tensor
    noise: Tensor
    strongest: Tensor
    strongest_rows: Tensor
    trace: Tensor
    numbers: dict[str, Tensor]
    unit: str
    pairs: dict[str, tuple[Tensor, ...]] = field(default_factory=dict)
    kind: ClassVar[str] = "filter_images"

    def layer_numbers(self) -> dict[str, Tensor]:
        """Return the numbers [N] whose means by layer are drawn over depth."""
        beyond = (self.reached >= self.strongest).float()
        return {"strength": self.numbers["strength"], "frequency": self.numbers["frequency"], "beyond_faces": beyond}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Every tensor under its name."""
        return tensor_arrays(self) | {name: as_array(values) for name, values in self.numbers.items()}

    def summary_row(self, entry: int) -> dict[str, Any]:
        """Return what was reached, with the values at noise and at the strongest face."""
        one = {name: finite_number(getattr(self, name)[entry]) for name in ("reached", "noise", "strongest")}
        return (
            one
            | {"strongest_row": int(self.strongest_rows[entry])}
            | {name: finite_number(values[entry]) for name, values in self.numbers.items()}
        )


@dataclass(frozen=True)
class FeatureMaps:
    """The outputs of chosen filters of a layer for one face, an entry a face and layer.

    Attributes:
        outputs: N tensors [F,h,w] float32, at the layer's own size.
        filters: N tuples of the filters' numbers.
        black: N tensors [F] float32, the part of each filter's output that is black: at or below zero.
        numbers: name -> [N] float32, numbers of each entry: mean sharpness, sparsity and how far the face is visible.
    """

    outputs: tuple[Tensor, ...]
    filters: tuple[tuple[int, ...], ...]
    black: tuple[Tensor, ...]
    numbers: dict[str, Tensor]
    kind: ClassVar[str] = "feature_maps"

    def layer_numbers(self) -> dict[str, Tensor]:
        """Return the numbers [N] whose means by layer are drawn over depth."""
        return {"black": torch.stack([black.mean() for black in self.black]), **self.numbers}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """``outputs_<n>``, ``filters_<n>`` and ``black_<n>`` for entry n, since entries may differ in size."""
        found: dict[str, NDArray[Any]] = {name: as_array(values) for name, values in self.numbers.items()}
        for entry, (outputs, filters, black) in enumerate(zip(self.outputs, self.filters, self.black, strict=True)):
            found |= {f"outputs_{entry}": as_array(outputs), f"black_{entry}": as_array(black)}
            found[f"filters_{entry}"] = np.array(filters, np.int64)
        return found

    def summary_row(self, entry: int) -> dict[str, Any]:
        """Return the share at or below zero and the other numbers."""
        numbers = {name: finite_number(values[entry]) for name, values in self.numbers.items()}
        return {"filters": len(self.filters[entry]), "black": finite_number(self.black[entry].mean())} | numbers


@dataclass(frozen=True)
class TopActivations:
    """The faces that excite a filter most, an entry a filter.

    Attributes:
        rows: [N,T] int64, the faces' rows, the strongest first.
        labels: [N,T] int64, their labels.
        values: [N,T] float32, the filter's highest output at each face.
        boxes: [N,T,4] int64, the pixels that output sees: top, left, and the first row and column beyond.
        cores: [N,T,4] int64, the part of the box where it looks most: the middle half of its gradient, down and across.
        images: [N,T,C,H,W] uint8, the faces themselves; drawn, not kept among the arrays.
        dead: [N] float32, the part of all faces at which the filter's output is nowhere above zero.
    """

    rows: Tensor
    labels: Tensor
    values: Tensor
    boxes: Tensor
    cores: Tensor
    images: Tensor
    dead: Tensor
    kind: ClassVar[str] = "top_faces"

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Every tensor but the faces."""
        found = tensor_arrays(self)
        del found["images"]
        # `rows` and `labels` are the names of the explained faces' own.
        return {f"top_{name}" if name in ("rows", "labels") else name: values for name, values in found.items()}

    def summary_row(self, entry: int) -> dict[str, Any]:
        """Return the rows of the top images, the highest output and the share of dead images."""
        return {
            "rows": self.rows[entry].tolist(),
            "strongest": finite_number(self.values[entry, 0]),
            "dead": finite_number(self.dead[entry]),
        }


@dataclass(frozen=True)
class Confusion:
    """A confusion matrix with its intervals, an entry a network.

    Attributes:
        counts: [N,K,K] int64, faces of true class i predicted as class j.
        low: [N,K,K] float32, lower end of the 95 % bootstrap interval of the matrix normalised by true class.
        high: [N,K,K] float32, upper end.
        metrics: N plain tables: accuracy, macro F1, calibration and per-class numbers, each with its interval.
        split: the split whose faces were counted.
    """

    counts: Tensor
    low: Tensor
    high: Tensor
    metrics: tuple[dict[str, Any], ...]
    split: str
    kind: ClassVar[str] = "confusion"

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return ``counts``, ``low`` and ``high``."""
        return tensor_arrays(self)

    def summary_row(self, entry: int) -> dict[str, Any]:
        """Return the metrics."""
        return dict(self.metrics[entry])


@dataclass(frozen=True)
class Progress:
    """Numbers that change over a training, an entry a layer or ``network`` for what belongs to no layer.

    Attributes:
        epochs: [E] the epochs, 0 for the network before training.
        values: name -> [N,E] float32, each number at each epoch.
        low: name -> [N,E] float32, lower ends of the 95 % intervals over faces; NaN where there is none.
        high: name -> [N,E] float32, upper ends.
    """

    epochs: Annotated[tuple[int, ...], SHARED]
    values: dict[str, Tensor]
    low: dict[str, Tensor]
    high: dict[str, Tensor]
    kind: ClassVar[str] = "progress"

    def arrays(self) -> dict[str, NDArray[Any]]:
        """``epochs``, and each number under its name with ``<name>_low`` and ``<name>_high``."""
        found: dict[str, NDArray[Any]] = {"epochs": np.array(self.epochs, np.int64)}
        for ending, table in (("", self.values), ("_low", self.low), ("_high", self.high)):
            found |= {f"{name}{ending}": as_array(values) for name, values in table.items()}
        return found

    def summary_row(self, entry: int) -> dict[str, Any]:
        """Each number at the last epoch."""
        return {name: finite_number(values[entry, -1]) for name, values in self.values.items()}
