"""Kinds of results over a data set: scores of concepts, clusters of explanations, nearest faces, regions of faces."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fervis.core.intervals import Interval
from fervis.core.results.result import SHARED, ShortRepr, as_array, finite_number, tensor_arrays

SIGNIFICANT = 0.05
"""Corrected p-values below it are called significant."""


@dataclass(frozen=True, repr=False)
class ConceptScores(ShortRepr):
    """How often a concept's direction raises each of K classes, one entry per concept and layer.

    Attributes:
        scores: [N,P,K] float32, TCAV score of each of P partitions: share of the class's faces whose logit rises along
            the concept's direction.
        random: [N,R,K] float32, the same of R directions between random images.
        means: [N,K] float32, mean of ``scores`` over the partitions.
        low: [N,K] float32, lower end of its 95 % interval.
        high: [N,K] float32, upper end.
        p_values: [N,K] float32, two-sided, of equal means of ``scores`` and ``random``; times the number of tests.
        accuracy: [N] float32, mean accuracy of the directions on images that they were not fitted to.
        cosine: [N] float32, mean cosine of the directions of two partitions.
        classes: names of the K classes.
    """

    scores: Tensor
    random: Tensor
    means: Tensor
    low: Tensor
    high: Tensor
    p_values: Tensor
    accuracy: Tensor
    cosine: Tensor
    classes: Annotated[tuple[str, ...], SHARED]
    kind: ClassVar[str] = "concept_scores"

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return every tensor under its name."""
        return tensor_arrays(self)

    def summary_row(self, entry: int) -> dict[str, Any]:
        """Return accuracy and cosine, and of each class the mean score and its corrected p-value."""
        row = {"accuracy": finite_number(self.accuracy[entry]), "cosine": finite_number(self.cosine[entry])}
        for number, name in enumerate(self.classes):
            row[name] = finite_number(self.means[entry, number])
            row[f"{name}/p"] = finite_number(self.p_values[entry, number])
        return row


@dataclass(frozen=True, repr=False)
class ExplanationClusters(ShortRepr):
    """Clusters of the maps of a class's faces, one entry per cluster.

    Attributes:
        size: [N] int64, number of faces.
        share: [N] float32, share of the explained faces of its class.
        accuracy: [N] float32, share of its labelled faces that are predicted right; NaN where none is labelled.
        mean_maps: [N,H,W] float32 at the images' size, mean of its maps, each divided by its sum of magnitudes.
        rows: [N,E] int64, rows of the faces nearest to the cluster's mean, -1 where it has fewer.
        images: [N,E,C,H,W] uint8, these faces; drawn, not written among the arrays.
        maps: [N,E,H,W] float32, their maps in the same order.
        eigenvalues: [N,G] float32, smallest eigenvalues of the class's normalised graph Laplacian; NaN beyond them.
        gap: [N] float32, the eigengap after the chosen number of clusters.
        members: N tensors int64, the rows of all faces of the cluster.
    """

    size: Tensor
    share: Tensor
    accuracy: Tensor
    mean_maps: Tensor
    rows: Tensor
    images: Tensor
    maps: Tensor
    eigenvalues: Tensor
    gap: Tensor
    members: tuple[Tensor, ...]
    kind: ClassVar[str] = "clusters"

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return every tensor but the faces, with ``members_<n>`` of entry n."""
        arrays = tensor_arrays(self)
        del arrays["images"]
        arrays["example_rows"], arrays["example_maps"] = arrays.pop("rows"), arrays.pop("maps")
        return arrays | {f"members_{entry}": rows.numpy() for entry, rows in enumerate(self.members)}

    def summary_row(self, entry: int) -> dict[str, Any]:
        """Return the cluster's size, share and accuracy."""
        numbers = {name: finite_number(getattr(self, name)[entry]) for name in ("share", "accuracy", "gap")}
        return {"size": int(self.size[entry]), **numbers}


@dataclass(frozen=True, repr=False)
class NearestFaces(ShortRepr):
    """The faces nearest to a face in a layer's space, one entry per face and layer.

    Attributes:
        rows: [N,k] int64, rows of the neighbours, the nearest first.
        labels: [N,k] int64, their labels, -1 where unknown.
        distances: [N,k] float32, their distances.
        images: [N,k,C,H,W] uint8, the neighbours; drawn, not written among the arrays.
        agreement: [N] float32, share of the labelled neighbours that have the face's label; NaN without labels.
        predicted: [N] float32, share of the labelled neighbours whose label is what the network predicts of the face.
        metric: name of the distance.
    """

    rows: Tensor
    labels: Tensor
    distances: Tensor
    images: Tensor
    agreement: Tensor
    predicted: Tensor
    metric: Annotated[str, SHARED]
    kind: ClassVar[str] = "nearest"

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return every tensor but the faces."""
        arrays = tensor_arrays(self)
        del arrays["images"]
        # `rows` and `labels` are taken: they are those of the explained faces.
        return {f"nearest_{name}" if name in ("rows", "labels") else name: values for name, values in arrays.items()}

    def summary_row(self, entry: int) -> dict[str, Any]:
        """Return the neighbours' rows, the least distance and the agreement of labels."""
        numbers = {name: finite_number(getattr(self, name)[entry]) for name in ("agreement", "predicted")}
        return {"nearest": self.rows[entry].tolist(), "distance": finite_number(self.distances[entry, 0]), **numbers}


@dataclass(frozen=True, repr=False)
class RegionContrasts(ShortRepr):
    """What hiding a region of the face does to the margin of two classes, one entry per layer, group and region.

    The margin is the logit of the target less that of the other class. A group holds the faces of one label that are
    predicted as one class.

    Attributes:
        groups: N names of groups, such as ``fear taken for surprise``.
        regions: N names of regions.
        pairs: N pairs of names: the target and the class it is contrasted with.
        values: name -> [N] float32, means over the group's faces, with the ends of their 95 % intervals as
            ``<name>/low`` and ``<name>/high``; NaN where there is none. ``effect``: by how much the margin falls when
            the region is hidden, so that above 0 the region speaks for the target; ``random``: when random patches of
            its area are; ``beyond``: the difference; ``flips``: share of the faces that are then predicted as the
            other class of the pair; ``flips/random`` and ``flips/beyond`` likewise; ``elsewhere``: share of those that
            are predicted as a third class; ``area``: of the image.
        clear: [N] bool, whether ``beyond`` differs from 0 by an interval that is corrected for the number of regions.
        clear_flips: [N] bool, whether ``flips/beyond`` does.
        rows: N tensors [n] int64, rows of the group's faces.
        margins: N tensors [n] float32, their margins.
        effects: N tensors [n] float32, NaN where the face lacks the region.
        predicted: N tensors [n] int64, the class predicted of each face without the region.
        flipped: N tensors int64, rows of the faces that are then predicted as the other class of the pair.
        example_rows: [N,E] int64, the faces on which the region has most effect, -1 where there are fewer.
        images: [N,E,C,H,W] uint8, these faces; drawn, not written among the arrays.
        masks: [N,E,H,W] bool, the region on them, likewise.
        maps: [N,E,H,W] float32, their contrast maps, above 0 where they speak for the target.
        sentences: N texts, what a group shows in words, with its first region; else empty.
    """

    groups: tuple[str, ...]
    regions: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...]
    values: dict[str, Tensor]
    clear: Tensor
    clear_flips: Tensor
    rows: tuple[Tensor, ...]
    margins: tuple[Tensor, ...]
    effects: tuple[Tensor, ...]
    predicted: tuple[Tensor, ...]
    flipped: tuple[Tensor, ...]
    example_rows: Tensor
    images: Tensor
    masks: Tensor
    maps: Tensor
    sentences: tuple[str, ...]
    kind: ClassVar[str] = "confused"

    def interval(self, name: str, entry: int) -> Interval:
        """Return a mean of an entry with its 95 % interval, NaN where there is none."""
        ends = (self.values.get(f"{name}{end}") for end in ("", "/low", "/high"))
        return Interval(*(math.nan if values is None else float(values[entry]) for values in ends))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the means under their names, and ``face_rows_<n>``, ``margins_<n>``, ... of entry n."""
        arrays = tensor_arrays(self) | {name: as_array(values) for name, values in self.values.items()}
        arrays = {name: values for name, values in arrays.items() if name not in ("images", "masks")}
        arrays |= {name: np.array(getattr(self, name)) for name in ("groups", "regions", "pairs")}
        each = {"face_rows": self.rows, "margins": self.margins, "effects": self.effects}
        each |= {"predicted": self.predicted, "flipped": self.flipped}
        return arrays | {f"{name}_{n}": as_array(of) for name, parts in each.items() for n, of in enumerate(parts)}

    def summary_row(self, entry: int) -> dict[str, Any]:
        """Return group, region, means and intervals, the rows of the faces that flip, and the group's sentence."""
        row: dict[str, Any] = {"faces": self.groups[entry], "region": self.regions[entry]}
        row["n"] = int(self.effects[entry].isfinite().sum())
        row |= {name: finite_number(values[entry]) for name, values in self.values.items()}
        row |= {"clear": bool(self.clear[entry]), "clear_flips": bool(self.clear_flips[entry])}
        return row | {"flipped_rows": self.flipped[entry].tolist(), "sentence": self.sentences[entry]}
