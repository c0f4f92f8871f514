"""Nearest faces: which training faces a layer takes for the most similar to a face.

A layer's output is a vector, flattened or averaged over its positions (pooled features), and faces are compared by the
cosine distance ``1 - a · b / (|a| |b|)`` or the Euclidean distance of their vectors. If the neighbours in a late layer
share the face's label, the layer separates the classes; neighbours that look alike but have another label show doubtful
labels, and training faces that are nearly the same show copies across splits. The explanation by example is that of the
deep k-nearest neighbours of Papernot and McDaniel (2018, arXiv:1803.04765).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from fervis.core.knobs import Choice, Whole
from fervis.core.results import ExplainerOutput, NearestFaces, join_results
from fervis.errors import ConfigError
from fervis.models.batch import Batch
from fervis.models.hooks import outputs_at
from fervis.models.predict import predict
from fervis.system.progress import progress

REFERENCE_BATCH = 64


@dataclass(frozen=True)
class _References:
    """The faces among which neighbours are searched, in the order of their rows."""

    images: Tensor
    rows: Tensor
    labels: Tensor
    classes: Sequence[str]


@dataclass
class NearestTrainingFaces:
    """Find the faces nearest to each face in a layer's space.

    Attributes:
        k: neighbours per face.
        metric: ``cosine`` or ``euclidean`` distance.
        pool: ``mean`` of each channel over its positions, or ``none``: every position counts.
        among: split of the faces that are compared with; images given from Python are compared with each other.
        copies: also show exact copies of the face itself.
    """

    k: Annotated[int, Whole(1, 50)] = 6
    metric: Annotated[str, Choice("cosine", "euclidean")] = "cosine"
    pool: Annotated[str, Choice("mean", "none")] = "mean"
    among: Annotated[str, Choice("train", "val", "test", "all")] = "train"
    copies: bool = False
    result: ClassVar = NearestFaces
    scope: ClassVar = "network"
    takes: ClassVar = frozenset({"layers", "pixels"})
    default_layer: ClassVar = "last_conv"

    def explain(self, batch: Batch) -> ExplainerOutput:
        """Return the neighbours of every image at every layer, from one pass over the faces compared with.

        ``numbers`` holds by layer the means of ``agreement`` and ``predicted``.

        Raises:
            ConfigError: there are fewer faces to compare with than neighbours.
        """
        references = self._references(batch)
        if len(references.rows) <= self.k:
            raise ConfigError(
                f"explainer.k={self.k}: expected fewer neighbours than there are faces in {self.among} "
                f"({len(references.rows)})."
            )
        queries = self._vectors(batch, batch.images)
        nearest = self._nearest(batch, queries, references)
        predicted = predict(batch.model, batch.images).argmax(1).cpu()
        results = [
            self._described(batch, references, distances, positions, predicted) for distances, positions in nearest
        ]
        count, names = len(batch.images), [layer.name for layer in batch.layers]
        numbers: dict[str, float] = {}
        for name, result in zip(names, results, strict=True):
            numbers |= {f"{name}/agreement": float(result.agreement.nanmean())}
            numbers |= {f"{name}/predicted": float(result.predicted.nanmean())}
        return ExplainerOutput(
            result=join_results(results),
            layers=tuple(name for name in names for _ in range(count)),
            targets=(f"{self.k} nearest",) * (count * len(names)),
            images=torch.arange(count).repeat(len(names)),
            numbers={name: value for name, value in numbers.items() if value == value},
        )

    def _references(self, batch: Batch) -> _References:
        """Return the faces of the split, or where only images were given, these."""
        if batch.data is None:
            return _References(batch.pool, batch.rows.cpu(), batch.labels.cpu(), batch.classes)
        faces = batch.data.split(self.among)
        return _References(faces.images, faces.rows, faces.labels, faces.classes)

    def _vectors(self, batch: Batch, images: Tensor) -> list[Tensor]:
        """Return a vector [n,D] per image at each layer; of unit length for the cosine distance."""
        vectors = []
        for part in images.split(REFERENCE_BATCH):
            maps = outputs_at(batch.model, part, batch.layers)
            flat = [(each.mean((2, 3)) if self.pool == "mean" else each.flatten(1)).float() for each in maps]
            vectors.append([F.normalize(each) if self.metric == "cosine" else each for each in flat])
        return [torch.cat(parts) for parts in zip(*vectors, strict=True)]

    def _nearest(self, batch: Batch, queries: list[Tensor], references: _References) -> list[tuple[Tensor, Tensor]]:
        """Return of each layer the distances and positions [N,k] of the nearest, of equal ones the first."""
        empty = torch.zeros(len(batch.images), 0)
        best = [(empty, empty.long()) for _ in batch.layers]
        queried: dict[bytes, list[int]] = {}
        for number, pixels in enumerate(_pixels(batch.images)):
            queried.setdefault(pixels, []).append(number)
        starts = range(0, len(references.rows), REFERENCE_BATCH)
        for start in progress(starts, "nearest", "batch", quiet=batch.quiet):
            part = references.images[start : start + REFERENCE_BATCH].to(batch.images.device)
            images = part if part.is_floating_point() else part.float() / 255
            same = torch.zeros(len(batch.images), len(images), dtype=torch.bool)
            for number, pixels in enumerate(_pixels(images)):
                same[queried.get(pixels, []), number] = not self.copies
            positions = torch.arange(start, start + len(images)).expand(len(batch.images), -1)
            for number, vectors in enumerate(self._vectors(batch, images)):
                distances = self._distances(queries[number], vectors).cpu().masked_fill(same, torch.inf)
                joined = (torch.cat([best[number][0], distances], 1), torch.cat([best[number][1], positions], 1))
                order = joined[0].argsort(dim=1, stable=True)[:, : self.k]
                best[number] = (joined[0].gather(1, order), joined[1].gather(1, order))
        return best

    def _distances(self, queries: Tensor, vectors: Tensor) -> Tensor:
        if self.metric == "cosine":
            return 1 - queries @ vectors.T
        return torch.cdist(queries, vectors, compute_mode="donot_use_mm_for_euclid_dist")

    def _described(
        self, batch: Batch, references: _References, distances: Tensor, positions: Tensor, predicted: Tensor
    ) -> NearestFaces:
        """Return the neighbours with their labels, and how far these agree with the face's."""
        labels = references.labels[positions]
        own = batch.image_labels.cpu() if len(batch.image_labels) else torch.full((len(positions),), -1)
        known = (labels >= 0) & distances.isfinite()
        of_data = [list(references.classes).index(name) if name in references.classes else -2 for name in batch.classes]
        images = references.images[positions.flatten()].unflatten(0, positions.shape)
        if images.is_floating_point():
            images = (images.clamp(0, 1) * 255).round().to(torch.uint8)
        return NearestFaces(
            rows=torch.where(distances.isfinite(), references.rows[positions], -1),
            labels=torch.where(known, labels, -1),
            distances=distances,
            images=images.cpu(),
            agreement=_share(labels == own[:, None], known & (own >= 0)[:, None]),
            predicted=_share(labels == torch.tensor(of_data)[predicted][:, None], known),
            metric=self.metric,
        )


def _pixels(images: Tensor) -> list[bytes]:
    """Return the bytes of each image, by which copies are recognized."""
    return [image.tobytes() for image in images.detach().cpu().contiguous().numpy()]


def _share(hits: Tensor, known: Tensor) -> Tensor:
    """Return [N] the share of hits [N,k] among the known; NaN where none is known."""
    return (hits & known).sum(1) / known.sum(1).float()
