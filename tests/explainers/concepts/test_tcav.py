"""TCAV, where the sign of every score is known, against finite differences, and where there is nothing to find."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from support.concept_folders import write_concepts
from torch import Tensor, nn

import fervis
from fervis.core.faces import Faces, Truth
from fervis.core.layers import resolve_layers
from fervis.errors import ConfigError
from fervis.explainers.concepts.concept_sets import concept_sets
from fervis.explainers.concepts.tcav import Tcav, _p_values, concept_vector
from fervis.models.batch import Batch

QUICK: dict[str, Any] = {"partitions": 5, "per_set": 12}


class Waves(nn.Module):
    """Filters of columns and rows; class a likes columns, b dislikes them, c likes rows."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 4, stride=4, bias=False)
        self.head = nn.Linear(2, 3, bias=False)
        wave = torch.tensor([1.0, 1.0, -1.0, -1.0])
        with torch.no_grad():
            self.conv.weight.copy_(torch.stack([wave.expand(4, 4), wave[:, None].expand(4, 4)])[:, None])
            self.head.weight.copy_(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]]))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv(x).mean((2, 3)))


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(write_concepts(tmp_path / "concepts", {"columns": 80, "rows": 80, "noise": 80, "random": 320}))


@pytest.fixture
def faces() -> tuple[Tensor, Tensor]:
    return torch.rand(12, 1, 16, 16, generator=torch.Generator().manual_seed(0)), torch.arange(12) % 3


def test_the_signs_are_those_of_a_network_set_by_hand(folder: str, faces: tuple[Tensor, Tensor]):
    result = fervis.explain(Waves(), faces[0], "tcav", "conv1", faces[1], concepts=folder, partitions=20)
    columns, noise, rows = range(3)  # in alphabetical order
    assert result.means[columns, :2].tolist() == [1, 0], "the gradient is the same everywhere, so all faces agree"
    assert result.means[rows, 2] == 1
    assert (result.p_values[columns, :2] < 0.05).all()
    assert result.p_values[rows, 2] < 0.05
    assert (result.p_values[noise] > 0.05).all()
    assert (result.accuracy[[columns, rows]] > 0.9).all()
    assert 0.2 < result.accuracy[noise] < 0.8
    assert (result.cosine[[columns, rows]] > 0.6).all()
    assert abs(float(result.cosine[noise])) < 0.5


def test_the_scores_are_shares_of_faces_whose_logit_rises_by_finite_differences(folder: str):
    generator = torch.Generator().manual_seed(3)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(1, 4, 3, 2), nn.Tanh(), nn.Conv2d(4, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(100, 3)
        ).double()
    images, labels = torch.rand(30, 1, 16, 16, generator=generator).double(), torch.arange(30) % 3
    layers = resolve_layers(model, "conv1", images[:1])
    batch = Batch(model, images, layers, classes=("a", "b", "c"), pool=images, labels=labels)
    result: Any = Tcav(concepts=folder, **QUICK).explain(_as_float(batch)).result
    sets = concept_sets(folder, batch, 5, 50, 12, 0.5, batch.generator("explainer/tcav"))
    first, rest = model[0], model[1:]
    for partition in range(5):
        parts = [
            first(part.double()).flatten(1) for part in (sets.concepts["columns"][partition], sets.random[partition])
        ]
        vector = concept_vector(parts[0].detach(), parts[1].detach(), 0.01)[0].view(4, 7, 7)
        for number in range(3):
            rises = 0
            for image in images[labels == number]:
                output = first(image[None])
                more, less = (rest(output + step * vector)[0, number] for step in (1e-5, -1e-5))
                rises += bool(more > less)
            assert float(result.scores[0, partition, number]) == pytest.approx(rises / 10, abs=1e-6)


def _as_float(batch: Batch) -> Batch:
    """Sets of images are float32; the network of this test computes in double precision."""
    batch.model.register_forward_pre_hook(lambda _module, given: (given[0].double(),))
    return batch


def test_the_vector_is_the_classifiers_in_the_whole_space():
    generator = torch.Generator().manual_seed(0)
    concept, random = torch.randn(16, 60, generator=generator) + 0.3, torch.randn(16, 60, generator=generator)
    vector, accuracy = concept_vector(concept, random, 0.05)
    train = torch.arange(16) % 4 != 3
    both = torch.cat([concept[train], random[train]]).double()
    both = both / both.square().sum(1).mean().sqrt()
    whole = LogisticRegression(C=1 / (0.05 * 24), tol=1e-10, max_iter=10_000).fit(both.numpy(), [1] * 12 + [0] * 12)
    expected = whole.coef_[0] / np.linalg.norm(whole.coef_[0])
    np.testing.assert_allclose(vector.numpy(), expected, rtol=0, atol=2e-5)
    scale = torch.cat([concept[train], random[train]]).double().square().sum(1).mean().sqrt()
    held = torch.cat([concept[~train], random[~train]]).double() / scale
    assert accuracy == pytest.approx(float((whole.predict(held.numpy()) == [1] * 4 + [0] * 4).mean()))


def test_the_p_value_is_welchs():
    one, two = torch.tensor([[0.9], [0.8], [1.0], [0.7]]), torch.tensor([[0.5], [0.2], [0.6], [0.9]])
    variances = [float(part.var()) / 4 for part in (one, two)]
    t = float(one.mean() - two.mean()) / math.sqrt(sum(variances))
    freedom = sum(variances) ** 2 / sum(variance**2 / 3 for variance in variances)
    steps = torch.linspace(-abs(t), abs(t), 20_001, dtype=torch.float64)
    constant = math.gamma((freedom + 1) / 2) / (math.sqrt(freedom * math.pi) * math.gamma(freedom / 2))
    density = constant * (1 + steps**2 / freedom) ** (-(freedom + 1) / 2)
    assert float(_p_values(one, two)) == pytest.approx(1 - float(torch.trapezoid(density, steps)), abs=1e-6)


def test_scores_without_variance_are_compared_as_by_a_permutation():
    ones, zeros = torch.ones(4, 1), torch.zeros(4, 1)
    assert float(_p_values(ones, zeros)) == pytest.approx(2 / 70)
    assert float(_p_values(ones, ones)) == 1


def test_random_images_are_rarely_called_significant(tmp_path: Path, faces: tuple[Tensor, Tensor]):
    significant = []
    for seed in range(8):
        folder = write_concepts(tmp_path / str(seed), {"noise": 60, "other": 60, "random": 200}, seed)
        result = fervis.explain(Waves(), faces[0], "tcav", "conv1", faces[1], concepts=str(folder), seed=seed, **QUICK)
        significant.append((result.p_values < 0.05).any())
    assert sum(significant) <= 1, "of eight looks at the 5 % level, each at six tests with Bonferroni's correction"


def drawn(count: int = 60) -> Faces:
    generator = torch.Generator().manual_seed(0)
    units = torch.rand(count, 2, generator=generator)
    images = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 16, 16).contiguous()
    truth = Truth(
        torch.zeros(count, 16, 16).bool(), torch.zeros(count, 16, 16).byte(), ("none",), units, ("AU1", "AU2")
    )
    zeros = torch.zeros(count, dtype=torch.int64)
    return Faces(images, zeros, torch.arange(count), zeros.to(torch.uint8), ("a",), truth=truth)


def test_sets_of_action_units_show_them_and_share_no_face():
    data = drawn()
    batch = Batch(Waves(), torch.rand(1, 1, 16, 16), (), data=data)
    sets = concept_sets("action_units", batch, 3, 50, 40, 0.5, batch.generator("explainer/tcav"))
    assert list(sets.concepts) == ["AU1", "AU2"]
    assert data.truth is not None
    for number, parts in enumerate(sets.concepts.values()):
        rows = (parts[:, :, 0, 0, 0] * 255).round().long()
        assert len(rows.unique()) == rows.numel()
        assert (data.truth.action_units[rows, number] >= 0.5).all()
        assert rows.shape[1] == int((data.truth.action_units[:, number] >= 0.5).sum()) // 3
    assert len(sets.random.flatten(1)[:, 0].unique()) == len(sets.random) == 3 + 2 * 3


@pytest.mark.parametrize(
    ("concepts", "words"),
    [
        ("action_units", "the data has no action units of its faces; expected dataset=synthetic"),
        ("gone", "gone"),
        ([], r"expected action_units, a list such as \[AU12,AU4\]"),
    ],
)
def test_concepts_that_are_not_there_are_refused(concepts: Any, words: str, faces: tuple[Tensor, Tensor]):
    with pytest.raises(ConfigError, match=words):
        fervis.explain(Waves(), faces[0], "tcav", "conv1", faces[1], concepts=concepts)


def test_a_folder_without_random_images_or_with_too_few_is_refused(tmp_path: Path, faces: tuple[Tensor, Tensor]):
    folder = write_concepts(tmp_path / "a", {"columns": 8, "rows": 8})
    with pytest.raises(ConfigError, match="columns, rows; expected one per concept and one of random images"):
        fervis.explain(Waves(), faces[0], "tcav", "conv1", faces[1], concepts=str(folder))
    folder = write_concepts(tmp_path / "b", {"columns": 8, "random": 40})
    with pytest.raises(ConfigError, match=r"columns has 8 images, expected at least 20, .*partitions=10"):
        fervis.explain(Waves(), faces[0], "tcav", "conv1", faces[1], concepts=str(folder))
    with pytest.raises(ConfigError, match=r"layer=input: "):
        fervis.explain(Waves(), faces[0], "tcav", ["input", "conv1"], faces[1], concepts=str(folder))
