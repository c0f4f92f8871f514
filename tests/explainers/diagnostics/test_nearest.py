"""Nearest faces, against distances computed pair by pair."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fervis
from fervis.core.faces import Faces
from fervis.core.layers import resolve_layers
from fervis.errors import ConfigError
from fervis.explainers.diagnostics.nearest import NearestTrainingFaces
from fervis.models.batch import Batch


@pytest.fixture
def model() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Conv2d(4, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3)
        )


def data(count: int = 90) -> Faces:
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (count, 1, 10, 10), generator=generator, dtype=torch.uint8)
    labels = torch.randint(-1, 3, (count,), generator=generator)
    return Faces(images, labels, torch.arange(count) + 7, (torch.arange(count) % 3).to(torch.uint8), ("a", "b", "c"))


def batch_of(model: nn.Module, faces: Faces, queries: Faces, layers: Any = "conv2", **more: Any) -> Batch:
    images = queries.images.float() / 255
    resolved = resolve_layers(model, layers, images[:1])
    return Batch(
        model,
        images,
        resolved,
        classes=("a", "b", "c"),
        image_labels=queries.labels,
        data=faces,
        rows=faces.rows,
        **more,
    )


def literal_distance(one: Tensor, two: Tensor, metric: str, pool: str) -> float:
    """The distance of two outputs [c,h,w], in double precision."""
    if pool == "mean":
        one, two = (torch.stack([channel.mean() for channel in maps.double()]) for maps in (one, two))
    a, b = one.double().flatten().tolist(), two.double().flatten().tolist()
    if metric == "euclidean":
        return sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) ** 0.5
    dot, lengths = sum(x * y for x, y in zip(a, b, strict=True)), [sum(x * x for x in v) ** 0.5 for v in (a, b)]
    return 1 - dot / (lengths[0] * lengths[1])


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("pool", ["mean", "none"])
def test_the_neighbours_are_those_of_all_pairs(model: nn.Module, metric: str, pool: str):
    faces = data()
    queries, train = faces.split("test").take(torch.arange(4)), faces.split("train")
    output = NearestTrainingFaces(k=3, metric=metric, pool=pool).explain(batch_of(model, faces, queries))
    result: Any = output.result
    with torch.no_grad():
        of_queries, of_train = (model[:3](part.images.float() / 255) for part in (queries, train))
    for number, query in enumerate(of_queries):
        distances = [literal_distance(query, other, metric, pool) for other in of_train]
        order = sorted(range(len(distances)), key=lambda at: distances[at])[:3]
        assert result.rows[number].tolist() == train.rows[order].tolist()
        assert result.labels[number].tolist() == train.labels[order].tolist()
        assert result.distances[number].tolist() == pytest.approx([distances[at] for at in order], rel=1e-4, abs=1e-7)
        assert torch.equal(result.images[number], train.images[order])
        known = [label for label in train.labels[order].tolist() if label >= 0]
        own = int(queries.labels[number])
        expected = sum(label == own for label in known) / len(known) if known and own >= 0 else float("nan")
        assert float(result.agreement[number]) == pytest.approx(expected, nan_ok=True)
    assert output.images is not None
    assert output.images.tolist() == [0, 1, 2, 3]


def test_all_layers_are_looked_at_in_one_pass_over_the_faces(model: nn.Module):
    faces = data()
    queries = faces.split("test").take(torch.arange(2))
    together: Any = NearestTrainingFaces(k=3).explain(batch_of(model, faces, queries, ["conv1", "conv2", "input"]))
    for number, layer in enumerate(["conv1", "conv2", "input"]):
        alone: Any = NearestTrainingFaces(k=3).explain(batch_of(model, faces, queries, layer))
        assert torch.equal(together.result.rows[2 * number : 2 * number + 2], alone.result.rows)


def test_copies_of_a_face_are_shown_on_demand(model: nn.Module):
    faces = data()
    queries = faces.split("train").take(torch.arange(2))
    without: Any = NearestTrainingFaces(k=2).explain(batch_of(model, faces, queries)).result
    with_copies: Any = NearestTrainingFaces(k=3, copies=True).explain(batch_of(model, faces, queries)).result
    assert with_copies.rows[:, 0].tolist() == queries.rows.tolist()
    assert with_copies.distances[:, 0].tolist() == pytest.approx([0, 0], abs=1e-6)
    assert torch.equal(without.rows, with_copies.rows[:, 1:])


def test_images_from_python_are_compared_with_each_other(model: nn.Module):
    images = torch.rand(8, 1, 10, 10, generator=torch.Generator().manual_seed(2))
    result = fervis.explain(model, images, "nearest", "conv2", [0, 1] * 4, k=3)
    assert not (result.rows == torch.arange(8)[:, None]).any()
    assert result.rows.unique().max() <= 7
    with pytest.raises(ConfigError, match=r"explainer\.k=8: expected fewer neighbours than there are faces"):
        fervis.explain(model, images, "nearest", "conv2", [0, 1] * 4, k=8)


def test_what_the_network_predicts_is_compared_by_the_classes_names(model: nn.Module):
    faces = data()
    queries = faces.split("test").take(torch.arange(4))
    batch = batch_of(model, faces, queries)
    with torch.no_grad():
        predicted = model(batch.images).argmax(1)
    plain: Any = NearestTrainingFaces(k=5).explain(batch).result
    for number in range(4):
        known = plain.labels[number][plain.labels[number] >= 0]
        expected = float((known == predicted[number]).float().mean())
        assert float(plain.predicted[number]) == pytest.approx(expected, nan_ok=True)
