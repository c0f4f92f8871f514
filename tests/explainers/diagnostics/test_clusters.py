"""Clusters of explanations: a planted shortcut is a cluster, and the spectral steps are those of the papers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import fervis
from fervis.core.faces import Faces
from fervis.core.registry import build_plugin
from fervis.datasets.portraits.shortcut import draw_mark, mark_box
from fervis.errors import ConfigError
from fervis.explainers.diagnostics.clusters import spectral_clusters


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Faces:
    """Drawn faces whose corner mark says their class in the val split, and any class in the test split."""
    dataset = build_plugin("dataset", "faces_shortcut", per_class_train=0, per_class_val=12, per_class_test=18, size=24)
    return dataset.load(tmp_path_factory.mktemp("cache"))


class ReadsTheMark(nn.Module):
    """Sees the middle of the face, and the corner only where the mark is that of a class, which then wins."""

    def __init__(self, size: int) -> None:
        super().__init__()
        rows, columns = mark_box(size)
        marks = torch.zeros(7, size, size, dtype=torch.uint8)
        for code in range(7):
            draw_mark(marks[code], code)
        self.box = rows, columns
        self.register_buffer("marks", marks[:, rows, columns].float() / 127.5 - 1)
        self.register_buffer("ones", (marks[:, rows, columns] > 0).float())
        middle = torch.zeros(7, size, size)
        middle[:, size // 2 : -4, 6:-6] = torch.linspace(0.01, 0.02, 7)[:, None, None]
        self.register_buffer("middle", middle)

    def forward(self, x: Tensor) -> Tensor:
        corner = x[:, 0, *self.box]
        match = torch.einsum("nhw,khw->nk", 2 * corner.detach() - 1, self.marks) > self.marks[0].numel() - 0.5
        seen = torch.einsum("nhw,khw->nk", corner, self.ones)
        return torch.einsum("nhw,khw->nk", x[:, 0], self.middle) + 5 * match * seen


def test_a_planted_shortcut_is_a_cluster_of_its_own(faces: Faces):
    model, images = ReadsTheMark(24), faces.images.float() / 255
    result = fervis.explain(model, images, "clusters", None, faces.labels, neighbours=6)
    rows, columns = mark_box(24)
    marks = torch.stack([model.get_buffer("ones")[code] for code in range(7)])
    corner = images[:, 0, rows, columns]
    shown = torch.stack([(corner == mark).flatten(1).all(1) for mark in marks], 1)  # [n,7], whose mark a face shows
    for number in range(7):
        of_class = set((faces.labels == number).nonzero().flatten().tolist())
        marked = of_class & set(shown[:, number].nonzero().flatten().tolist())
        clusters = [
            (set(members.tolist()), maps.abs())
            for members, maps in zip(result.members, result.mean_maps, strict=True)
            if int(members[0]) in of_class
        ]
        assert set.union(*(members for members, _ in clusters)) == of_class
        assert sum(len(members) for members, _ in clusters) == len(of_class)
        assert len(clusters) > 1
        assert 12 <= len(marked) < len(of_class)
        for members, maps in clusters:
            assert members <= marked or not members & marked, "no strategy is mixed with the other"
            share = float(maps[rows, columns].sum() / maps.sum())
            assert share > 0.5 if members <= marked else share < 0.01


def blobs(sizes: tuple[int, ...]) -> np.ndarray:
    generator = np.random.default_rng(0)
    return np.concatenate([generator.normal(10 * number, 1, (size, 5)) for number, size in enumerate(sizes)])


def test_the_number_of_clusters_is_where_the_eigenvalues_leap():
    found = spectral_clusters(blobs((30, 12, 20)), "auto", 8, 6, 0)
    truth = np.repeat([0, 1, 2], (30, 12, 20))
    assert len({(a, b) for a, b in zip(truth, found.labels, strict=True)}) == 3
    assert np.allclose(found.eigenvalues[:3], 0, atol=1e-9), "one eigenvalue of 0 per component of the graph"
    assert found.gap == pytest.approx(found.eigenvalues[3] - found.eigenvalues[2])
    assert found.gap == pytest.approx(np.diff(found.eigenvalues).max())


def test_the_eigenvalues_are_those_of_the_laplacian_written_out():
    maps, neighbours = blobs((9, 7)), 4
    count = len(maps)
    graph = np.zeros((count, count))
    for one in range(count):
        distances = [float(np.sqrt(((maps[one] - other) ** 2).sum())) for other in maps]
        for other in sorted((at for at in range(count) if at != one), key=lambda at: distances[at])[:neighbours]:
            graph[one, other] += 0.5
            graph[other, one] += 0.5
    degrees = graph.sum(1)
    laplacian = np.eye(count)
    for i in range(count):
        for j in range(count):
            laplacian[i, j] -= graph[i, j] / np.sqrt(degrees[i] * degrees[j])
    expected = np.sort(np.linalg.eigvals(laplacian).real)[:9]
    np.testing.assert_allclose(spectral_clusters(maps, "auto", 8, neighbours, 0).eigenvalues, expected, atol=1e-8)


def test_a_stated_number_of_clusters_is_found():
    labels = spectral_clusters(blobs((20, 20)), 4, 8, 5, 0).labels
    assert sorted(set(labels.tolist())) == [0, 1, 2, 3]


def test_other_maps_and_layers_are_clustered_and_what_gives_none_is_refused():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(256, 2))
    images = torch.rand(24, 1, 12, 12, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(24) % 2
    knobs: dict[str, Any] = {"maps": "gradcam", "clusters": 2, "examples": 3}
    result = fervis.explain(model, images, "clusters", ["conv1", "conv2"], labels, **knobs)
    assert result.size.unflatten(0, (2, 2, 2)).sum(2).tolist() == [[12, 12], [12, 12]]
    direct = fervis.explain(model, images[labels == 0], "gradcam", "conv2", 0).maps
    scaled = direct / direct.sum((1, 2), keepdim=True).clamp(min=1e-30)
    means = result.mean_maps[4:6] * result.size[4:6, None, None]  # two clusters of the first class at conv2
    torch.testing.assert_close(means.sum(0), scaled.sum(0), rtol=1e-4, atol=1e-6)
    with pytest.raises(ConfigError, match=r"layer=input: explainer\.maps=gradcam gives no map there"):
        fervis.explain(model, images, "clusters", None, labels, maps="gradcam")
    with pytest.raises(ConfigError, match=r"explainer\.maps=confusion: expected an explainer of images"):
        fervis.explain(model, images, "clusters", None, labels, maps="confusion")


def test_unlabelled_faces_are_clustered_by_what_the_network_takes_them_for(tmp_path: Path):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(200, 2))
    images = torch.rand(20, 1, 12, 12, generator=torch.Generator().manual_seed(1))
    result = fervis.explain(model, images, "clusters")
    with torch.no_grad():
        predicted = model(images).argmax(1)
    assert result.accuracy.isnan().all()
    for members in result.members:
        assert len(predicted[members].unique()) == 1
