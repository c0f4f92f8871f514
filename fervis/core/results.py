"""What explainers return: plain results of a few kinds, un-normalised. The kind chooses the visualizer.

A result is a list of N entries: every tensor and every tuple in it has one item an entry.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fervis.core.faces import Faces


class Result(Protocol):
    """A result of N entries, a dataclass."""

    kind: ClassVar[str]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The raw values by name, as they are kept in ``arrays.npz``."""
        ...

    def told(self, entry: int) -> dict[str, Any]:
        """Numbers and words of one entry, for its row in the summary's table; plain data."""
        ...


@dataclass(frozen=True)
class HeatMaps:
    """One map a face: how much each pixel counts, in the method's own unit.

    Attributes:
        maps: [N,H,W] float32 at the faces' size, un-normalised.
        unit: what a value is, in words for a colour bar, such as ``|d logit / d pixel|``.
        layer_unit: ``unit`` in words that hold at every layer, where it names one; for maps of several layers.
        signed: whether negative values mean the opposite of positive ones (or the maps are magnitudes).
        pixel_maps: [N,H,W] float32, the same method at the pixels where ``maps`` are of an inner layer, or None.
        pixel_unit: as ``unit``, of ``pixel_maps``.
        scores: name -> [N] float32, numbers that the method reports of each map, such as its stability.
    """

    maps: Tensor
    unit: str
    signed: bool = False
    pixel_maps: Tensor | None = None
    pixel_unit: str = ""
    layer_unit: str = ""
    scores: dict[str, Tensor] | None = None
    kind: ClassVar[str] = "heatmaps"

    def arrays(self) -> dict[str, NDArray[Any]]:
        """``maps`` and, where there are some, ``pixel_maps`` and the scores."""
        found = {"maps": as_array(self.maps.float())}
        if self.pixel_maps is not None:
            found["pixel_maps"] = as_array(self.pixel_maps.float())
        return found | {name: as_array(values.float()) for name, values in (self.scores or {}).items()}

    def told(self, entry: int) -> dict[str, Any]:
        """The scores."""
        return {name: round(float(values[entry]), 6) for name, values in (self.scores or {}).items()}


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
    """

    images: Tensor
    reached: Tensor
    noise: Tensor
    strongest: Tensor
    strongest_rows: Tensor
    trace: Tensor
    numbers: dict[str, Tensor]
    unit: str
    kind: ClassVar[str] = "filter_images"

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Every tensor under its name."""
        return _tensor_arrays(self) | {name: as_array(values) for name, values in self.numbers.items()}

    def told(self, entry: int) -> dict[str, Any]:
        """What was reached, beside noise and the strongest face."""
        one = {name: _finite_number(getattr(self, name)[entry]) for name in ("reached", "noise", "strongest")}
        return (
            one
            | {"strongest_row": int(self.strongest_rows[entry])}
            | {name: _finite_number(values[entry]) for name, values in self.numbers.items()}
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

    def arrays(self) -> dict[str, NDArray[Any]]:
        """``outputs_<n>``, ``filters_<n>`` and ``black_<n>`` for entry n, since entries may differ in size."""
        found: dict[str, NDArray[Any]] = {name: as_array(values) for name, values in self.numbers.items()}
        for entry, (outputs, filters, black) in enumerate(zip(self.outputs, self.filters, self.black, strict=True)):
            found |= {f"outputs_{entry}": as_array(outputs), f"black_{entry}": as_array(black)}
            found[f"filters_{entry}"] = np.array(filters, np.int64)
        return found

    def told(self, entry: int) -> dict[str, Any]:
        """The black part and the other numbers."""
        numbers = {name: _finite_number(values[entry]) for name, values in self.numbers.items()}
        return {"filters": len(self.filters[entry]), "black": _finite_number(self.black[entry].mean())} | numbers


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
        found = _tensor_arrays(self)
        del found["images"]
        # `rows` and `labels` are the names of the explained faces' own.
        return {f"top_{name}" if name in ("rows", "labels") else name: values for name, values in found.items()}

    def told(self, entry: int) -> dict[str, Any]:
        """The strongest faces and what the filter gives at them."""
        return {
            "rows": self.rows[entry].tolist(),
            "strongest": _finite_number(self.values[entry, 0]),
            "dead": _finite_number(self.dead[entry]),
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
        """``counts``, ``low`` and ``high``."""
        return _tensor_arrays(self)

    def told(self, entry: int) -> dict[str, Any]:
        """The metrics."""
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

    epochs: tuple[int, ...]
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

    def told(self, entry: int) -> dict[str, Any]:
        """Each number at the last epoch."""
        return {name: _finite_number(values[entry, -1]) for name, values in self.values.items()}


R = TypeVar("R")


def join_results(results: Sequence[R]) -> R:
    """The results of several batches, layers or checkpoints as one: their entries one after the other."""
    first = results[0]
    if len(results) == 1:
        return first
    own = _join_heat_maps([result for result in results if isinstance(result, HeatMaps)])
    names = [f.name for f in fields(first) if f.name not in own]  # pyright: ignore[reportArgumentType]
    together = {name: _join_tensors([getattr(result, name) for result in results]) for name in names}
    if isinstance(first, Progress):
        together["epochs"] = first.epochs
    return replace(first, **together, **own)  # pyright: ignore[reportArgumentType, reportCallIssue]


def _join_tensors(values: list[Any]) -> Any:
    first = values[0]
    if isinstance(first, Tensor):
        return torch.cat(values)
    if isinstance(first, tuple):
        return tuple(item for value in values for item in value)
    if isinstance(first, dict):
        return {name: _join_tensors([value[name] for value in values]) for name in first}
    return first


def _join_heat_maps(results: Sequence[HeatMaps]) -> dict[str, Any]:
    """The unit that holds for all, and maps of the pixels where any of the maps is of an inner layer."""
    if not results:
        return {}
    pixels = [result.maps if result.pixel_maps is None else result.pixel_maps for result in results]
    inner = any(result.pixel_maps is not None for result in results)
    same = len({result.unit for result in results}) == 1
    return {
        "unit": results[0].unit if same else results[0].layer_unit or results[0].unit,
        "pixel_maps": torch.cat(pixels) if inner else None,
        "pixel_unit": next((result.pixel_unit for result in results if result.pixel_unit), ""),
    }


@dataclass(frozen=True)
class ExplainerOutput:
    """What an examination of a network found: a result of N entries and what they are of.

    Attributes:
        result: the N entries.
        layers: N layer names; ``input`` for the pixels, ``network`` for the whole of it.
        targets: N names: ``conv7/4`` for a filter, a class, or words such as ``64 filters``.
        who: [N] int64, the position of each entry's face among the images asked about; None where entries are not
            of faces.
        numbers: numbers of the answer as a whole, by name.
    """

    result: Result
    layers: tuple[str, ...]
    targets: tuple[str, ...]
    who: Tensor | None = None
    numbers: dict[str, float] | None = None


@dataclass(frozen=True)
class Explanation:
    """An explainer's result with what a reader must know of it: N entries.

    An entry is one face, layer, target and checkpoint; or, where ``of_faces`` is false, a filter, a class or a network,
    and then ``faces``, ``predictions`` and ``probabilities`` are empty.

    Attributes:
        result: the N results, of one kind.
        faces: the N faces (a face explained at two layers stands twice).
        layers: N layer names, ``input`` for the pixels.
        targets: N names of what is explained: a class, or ``conv7/4`` for a filter.
        checkpoints: N names of the checkpoints: ``best``, ``1``, ...
        predictions: [N] int64, index of the predicted class.
        probabilities: [N,K] float32, softmax over the classes.
        classes: names of the network's K classes.
        explainer: name of the method, as in the config.
        model: name of the network, as in the config.
        dataset: name of the data set, as in the config.
    """

    result: Any  # a Result; each visualizer knows which
    faces: Faces
    layers: tuple[str, ...]
    targets: tuple[str, ...]
    predictions: Tensor
    probabilities: Tensor
    classes: tuple[str, ...]
    explainer: str
    model: str
    dataset: str
    checkpoints: tuple[str, ...] = ()

    @property
    def of_faces(self) -> bool:
        """Whether an entry is a face."""
        return len(self.faces) > 0

    @property
    def several_checkpoints(self) -> bool:
        """Whether checkpoints are compared."""
        return len(set(self.checkpoints)) > 1


@dataclass(frozen=True)
class Figure:
    """A picture file and what it shows, in a sentence that can stand in for it."""

    path: Path
    caption: str


def as_array(values: Tensor) -> NDArray[Any]:
    """A tensor as numpy holds it, on the CPU."""
    return values.detach().cpu().numpy()


def _tensor_arrays(result: Any) -> dict[str, NDArray[Any]]:
    values = {f.name: getattr(result, f.name) for f in fields(result)}
    return {name: as_array(value) for name, value in values.items() if isinstance(value, Tensor)}


def _finite_number(value: Tensor) -> float | None:
    """A number to six digits, or None where it is not one: JSON knows no NaN."""
    return round(float(value), 6) if torch.isfinite(value) else None
