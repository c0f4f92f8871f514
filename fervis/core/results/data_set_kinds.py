"""Kinds of results over a data set: scores of concepts, clusters of explanations, nearest faces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from numpy.typing import NDArray
from torch import Tensor

from fervis.core.results.result import SHARED, ShortRepr, finite_number, tensor_arrays

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
