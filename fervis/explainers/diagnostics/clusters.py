"""Clusters of explanations: strategies by which a network decides (SpRAy; Lapuschkin et al. 2019, arXiv:1902.10178).

The faces of a class are explained by a method of images for that class, each map is averaged down to a small grid and
divided by the sum of its magnitudes, and the maps are clustered spectrally: by the graph of their nearest neighbours,
its normalised Laplacian ``I - D^-1/2 A D^-1/2`` and k-means on the rows of its first eigenvectors (Ng, Jordan and Weiss
2001). The number of clusters is at the largest gap between eigenvalues (eigengap). A small cluster whose maps point
outside the face, such as to a mark in a corner, is a strategy that accuracy does not show.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from fervis.core.knobs import Choice, Text, Whole
from fervis.core.layers import INPUT, resize_maps
from fervis.core.registry import build_plugin
from fervis.core.results import ExplainerOutput, ExplanationClusters, HeatMaps, join_results
from fervis.core.targets import class_targets
from fervis.errors import ConfigError
from fervis.explainers.diagnostics.examples import byte_pictures, filled
from fervis.models.batch import Batch
from fervis.models.predict import predict
from fervis.system.progress import progress

EXPLAINED_AT_ONCE = 64
FEWEST_TO_CLUSTER = 4


@dataclass(frozen=True)
class Clustering:
    """Clusters of n maps.

    Attributes:
        labels: [n] cluster of each map.
        eigenvalues: the smallest ones of the Laplacian, ascending.
        gap: the leap after the last eigenvalue that has a cluster; NaN where there is none.
    """

    labels: NDArray[np.int64]
    eigenvalues: NDArray[np.float64]
    gap: float


@dataclass
class ClustersOfExplanations:
    """Cluster the maps of each class's faces.

    Attributes:
        maps: name of the explainer of images whose maps are clustered, with its default settings.
        faces: most faces per class.
        grid: side of the grid that maps are averaged down to.
        clusters: number per class; ``auto`` for the largest eigengap.
        most: most clusters that ``auto`` chooses.
        neighbours: of each map in the graph.
        examples: faces shown of each cluster, those nearest to its mean.
    """

    maps: Annotated[str, Text("the name of an explainer of images")] = "input_x_gradient"
    faces: Annotated[int, Whole(2, 5000)] = 200
    grid: Annotated[int, Whole(2)] = 12
    clusters: Annotated[Any, Choice("auto") | Whole(1, 50)] = "auto"
    most: Annotated[int, Whole(1, 50)] = 8
    neighbours: Annotated[int, Whole(1)] = 10
    examples: Annotated[int, Whole(1, 50)] = 6
    result: ClassVar = ExplanationClusters
    scope: ClassVar = "network"
    takes: ClassVar = frozenset({"layers", "pixels"})
    default_layer: ClassVar = INPUT

    def explain(self, batch: Batch) -> ExplainerOutput:
        """Return the clusters of every class at every layer, the largest of a class first.

        The faces of a class are those of the split with its label, or where nothing is labelled, those that the network
        takes for it. ``numbers`` holds the number of clusters of each class by layer.

        Raises:
            ConfigError: ``maps`` is no explainer of images, or does not work at a layer.
        """
        method = self._method(batch)
        predictions = torch.cat([predict(batch.model, images).argmax(1).cpu() for _, images in batch.batches()])
        labelled = bool((batch.labels >= 0).any())
        classes = batch.labels.cpu() if labelled else predictions
        right = torch.where(batch.labels.cpu() >= 0, (predictions == batch.labels.cpu()).double(), torch.nan)
        order = torch.randperm(len(classes), generator=batch.generator("explainer/clusters"))
        results, names, targets, numbers = [], [], [], {}
        explained = {}
        for number, class_name in enumerate(batch.classes):
            chosen = order[classes[order] == number][: self.faces].sort().values
            if len(chosen):
                explained[class_name] = chosen, self._maps(method, batch, chosen, number)
        for layer in batch.layers:
            for class_name, (chosen, maps) in explained.items():
                parts = self._clusters(batch, chosen, maps[layer.name], right[chosen])
                numbers[f"{layer.name}/{class_name}/clusters"] = float(len(parts))
                results += parts
                names += [layer.name] * len(parts)
                targets += [f"{class_name}/{index}" for index in range(1, len(parts) + 1)]
        return ExplainerOutput(join_results(results), tuple(names), tuple(targets), numbers=numbers)

    def _method(self, batch: Batch) -> Any:
        method = build_plugin("explainer", self.maps)
        if method.result is not HeatMaps:
            raise ConfigError(f"explainer.maps={self.maps}: expected an explainer of images, such as input_x_gradient.")
        for layer in batch.layers:
            if ("pixels" if layer.is_input else "layers") not in method.takes:
                raise ConfigError(f"layer={layer.name}: explainer.maps={self.maps} gives no map there.")
        return method

    def _maps(self, method: Any, batch: Batch, chosen: Tensor, number: int) -> dict[str, Tensor]:
        """Return the maps [n,h,w] of the chosen faces of the pool for a class, by layer."""
        parts: dict[str, list[Tensor]] = {layer.name: [] for layer in batch.layers}
        chunks = chosen.split(EXPLAINED_AT_ONCE)
        for index in progress(chunks, f"clusters {batch.classes[number]}", "batch", quiet=batch.quiet):
            images = batch.pool[index].to(batch.images.device)
            images = images if images.is_floating_point() else images.float() / 255
            given = batch.with_images(images, class_targets([number] * len(index)))
            maps = method.explain(given).maps
            for name, part in parts.items():
                part.append(maps[name][:, 0].detach().float().cpu())
        return {name: torch.cat(part) for name, part in parts.items()}

    def _clusters(self, batch: Batch, chosen: Tensor, maps: Tensor, right: Tensor) -> list[ExplanationClusters]:
        """Return the clusters of a class's maps [n,h,w], the largest first."""
        grid = min(self.grid, maps.shape[1]), min(self.grid, maps.shape[2])
        small = F.adaptive_avg_pool2d(maps[:, None], grid).flatten(1)
        strength = small.abs().sum(1)
        small = small / strength.clamp(min=torch.finfo(small.dtype).tiny)[:, None]
        seed = int(torch.randint(2**31, (1,), generator=batch.generator("explainer/clusters/k-means")))
        found = spectral_clusters(small.double().numpy(), self.clusters, self.most, self.neighbours, seed)
        labels = torch.from_numpy(found.labels)
        sizes = labels.bincount()
        order = sizes.argsort(descending=True, stable=True).tolist()
        height, width = (int(side) for side in batch.images.shape[2:])
        sized = resize_maps(maps, (height, width))
        sized = sized / sized.abs().sum((1, 2), keepdim=True).clamp(min=torch.finfo(sized.dtype).tiny)
        rows = batch.rows.cpu()[chosen]
        results = []
        for cluster in order:
            members = (labels == cluster).nonzero().flatten()
            distance = (small[members] - small[members].mean(0)).square().sum(1)
            shown = members[distance.argsort(stable=True)[: self.examples]]
            results.append(
                ExplanationClusters(
                    size=torch.tensor([len(members)]),
                    share=torch.tensor([len(members) / len(chosen)]),
                    accuracy=right[members].nanmean()[None].float(),
                    mean_maps=sized[members].mean(0)[None],
                    rows=filled(rows[shown], self.examples, -1)[None],
                    images=filled(byte_pictures(batch.pool[chosen[shown]]), self.examples, 0)[None],
                    maps=filled(sized[shown], self.examples, 0)[None],
                    eigenvalues=filled(torch.from_numpy(found.eigenvalues).float(), self.most + 1, torch.nan)[None],
                    gap=torch.tensor([found.gap]),
                    members=(rows[members],),
                )
            )
        return results


def spectral_clusters(maps: NDArray[Any], clusters: Any, most: int, neighbours: int, seed: int) -> Clustering:
    """Cluster maps [n,D] by their graph of nearest neighbours.

    Args:
        maps: the maps.
        clusters: number of clusters, or ``auto``.
        most: most clusters that ``auto`` chooses.
        neighbours: of each map; two maps are joined by 1 where each is a neighbour of the other, by 1/2 where one is.
        seed: of k-means.
    """
    from sklearn.cluster import KMeans  # here, since it takes half a second
    from sklearn.neighbors import kneighbors_graph

    count = len(maps)
    if count < FEWEST_TO_CLUSTER:
        return Clustering(np.zeros(count, np.int64), np.zeros(0), float("nan"))
    graph = kneighbors_graph(maps, min(neighbours, count - 1)).toarray()
    graph = (graph + graph.T) / 2
    scale = 1 / np.sqrt(graph.sum(1))
    values, vectors = np.linalg.eigh(np.eye(count) - scale[:, None] * graph * scale)
    limit = min(most, count - 1)
    gaps = np.diff(values[: limit + 1])
    chosen = int(gaps.argmax()) + 1 if clusters == "auto" else min(int(clusters), count - 1)
    rows = vectors[:, :chosen]
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    means = KMeans(chosen, n_init=10, random_state=seed)  # pyright: ignore[reportArgumentType] - its stub is wrong
    labels = means.fit_predict(rows) if chosen > 1 else np.zeros(count)
    _, labels = np.unique(labels, return_inverse=True)
    return Clustering(labels.astype(np.int64), values[: most + 1], float(values[chosen] - values[chosen - 1]))
