"""Kinds of results other than heat maps: filter images, feature maps, top activations, confusion, progress."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fervis.core.results.result import SHARED, ShortRepr, as_array, finite_number, tensor_arrays


@dataclass(frozen=True, repr=False)
class FilterImages(ShortRepr):
    """Images that maximize an objective, one entry per filter or class.

    Attributes:
        images: [N,C,H,W] float32 in [0, 1], at the network's own size.
        reached: [N] float32, the objective at the image.
        noise: [N] float32, the mean objective at noise images of the same brightness and contrast as faces.
        strongest: [N] float32, the highest objective over the real faces, NaN without faces.
        strongest_rows: [N] int64, the row of that face, or -1.
        trace: [N,S] float32, the objective at each step.
        numbers: name -> [N] float32, further numbers of each image, such as its mean frequency.
        unit: what the objective is, in words.
        pairs: name -> N tensors, how each image compares with the others of its layer, where the explainer searched for
            flipped and rotated copies: ``fervis.metrics.representation.image_symmetry.SymmetricPairs.rows``.
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
        """Return every tensor under its name."""
        return tensor_arrays(self) | {name: as_array(values) for name, values in self.numbers.items()}

    def summary_row(self, entry: int) -> dict[str, Any]:
        """Return what was reached, with the values at noise and at the strongest face."""
        objectives = {name: finite_number(getattr(self, name)[entry]) for name in ("reached", "noise", "strongest")}
        return (
            objectives
            | {"strongest_row": int(self.strongest_rows[entry])}
            | {name: finite_number(values[entry]) for name, values in self.numbers.items()}
        )


@dataclass(frozen=True, repr=False)
class FeatureMaps(ShortRepr):
    """Outputs of chosen filters of a layer for a face, one entry per face and layer.

    Attributes:
        outputs: N tensors [F,h,w] float32, at the layer's own size.
        filters: N tuples of the filters' numbers.
        black: N tensors [F] float32, the part of each filter's output that is black: at or below zero.
        numbers: name -> [N] float32, numbers of each entry: mean sharpness, sparsity and visibility of the face.
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
        """Return ``outputs_<n>``, ``filters_<n>`` and ``black_<n>`` of entry n, since entries may differ in size."""
        arrays: dict[str, NDArray[Any]] = {name: as_array(values) for name, values in self.numbers.items()}
        for entry, (outputs, filters, black) in enumerate(zip(self.outputs, self.filters, self.black, strict=True)):
            arrays |= {f"outputs_{entry}": as_array(outputs), f"black_{entry}": as_array(black)}
            arrays[f"filters_{entry}"] = np.array(filters, np.int64)
        return arrays

    def summary_row(self, entry: int) -> dict[str, Any]:
        """Return the share at or below zero and the other numbers."""
        numbers = {name: finite_number(values[entry]) for name, values in self.numbers.items()}
        return {"filters": len(self.filters[entry]), "black": finite_number(self.black[entry].mean())} | numbers


@dataclass(frozen=True, repr=False)
class TopActivations(ShortRepr):
    """Faces that excite a filter most, one entry per filter.

    Attributes:
        rows: [N,T] int64, the faces' rows, the strongest first.
        labels: [N,T] int64, their labels.
        values: [N,T] float32, the filter's highest output at each face.
        boxes: [N,T,4] int64, the output's receptive field: top, left, and the first row and column beyond.
        cores: [N,T,4] int64, the part of the box to which it is most sensitive: the middle half of its gradient, down
            and across.
        images: [N,T,C,H,W] uint8, the faces themselves; drawn, not written among the arrays.
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
        """Return every tensor but the faces."""
        arrays = tensor_arrays(self)
        del arrays["images"]
        # `rows` and `labels` are taken: they are those of the explained faces.
        return {f"top_{name}" if name in ("rows", "labels") else name: values for name, values in arrays.items()}

    def summary_row(self, entry: int) -> dict[str, Any]:
        """Return the rows of the top images, the highest output and the share of dead images."""
        return {
            "rows": self.rows[entry].tolist(),
            "strongest": finite_number(self.values[entry, 0]),
            "dead": finite_number(self.dead[entry]),
        }


@dataclass(frozen=True, repr=False)
class Confusion(ShortRepr):
    """A confusion matrix with its intervals, one entry per network.

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


@dataclass(frozen=True, repr=False)
class Progress(ShortRepr):
    """Numbers over the epochs of a training, one entry per layer and ``network`` for those of no layer.

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
        """Return ``epochs``, and each number under its name with ``<name>_low`` and ``<name>_high``."""
        arrays: dict[str, NDArray[Any]] = {"epochs": np.array(self.epochs, np.int64)}
        for ending, table in (("", self.values), ("_low", self.low), ("_high", self.high)):
            arrays |= {f"{name}{ending}": as_array(values) for name, values in table.items()}
        return arrays

    def summary_row(self, entry: int) -> dict[str, Any]:
        """Return each number at the last epoch."""
        return {name: finite_number(values[entry, -1]) for name, values in self.values.items()}
