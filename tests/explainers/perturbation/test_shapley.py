"""Shapley values against orders counted one by one, captum and games with a known answer, and estimates of them."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from captum.attr import FeatureAblation, ShapleyValues
from torch import Tensor, nn

import fervis
from fervis.errors import ConfigError
from fervis.explainers.perturbation.coalitions import (
    all_coalitions,
    estimate_shapley,
    paired_coalitions,
    shapley_interactions,
    shapley_values,
)
from fervis.explainers.perturbation.superpixels import AREAS, face_areas, grid_cells, segment_means
from fervis.explainers.perturbation.superpixels import superpixels as cut

SIDE = 12


class Small(nn.Module):
    """Three classes of a small random network in double precision."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 12), nn.Tanh(), nn.Linear(12, 3)).double()

    def forward(self, images: Tensor) -> Tensor:
        return 3 * self.body(images.double())


@pytest.fixture
def small() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return Small().eval()


def faces(count: int = 1) -> Tensor:
    return torch.rand(count, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def game(features: int, labels: int = 2) -> Tensor:
    return torch.randn(2**features, labels, generator=torch.Generator().manual_seed(features)).double()


def number_of(coalition: set[int]) -> int:
    return sum(2**feature for feature in coalition)


@pytest.mark.parametrize("features", [1, 2, 4, 5])
def test_values_are_the_mean_gain_over_all_orders(features: int):
    values = game(features)
    expected = torch.zeros(features, 2, dtype=torch.float64)
    for order in itertools.permutations(range(features)):
        present: set[int] = set()
        for feature in order:
            gain = values[number_of(present | {feature})] - values[number_of(present)]
            expected[feature] += gain / math.factorial(features)
            present.add(feature)
    torch.testing.assert_close(shapley_values(values), expected, rtol=0, atol=1e-12)


def test_interactions_are_the_sum_over_all_coalitions_without_the_pair():
    values = game(5)
    expected = torch.zeros(5, 5, 2, dtype=torch.float64)
    for one, two in itertools.permutations(range(5), 2):
        others = [feature for feature in range(5) if feature not in (one, two)]
        for size in range(4):
            for rest in map(set, itertools.combinations(others, size)):
                chance = math.factorial(size) * math.factorial(5 - size - 2) / math.factorial(4)
                both, first = values[number_of(rest | {one, two})], values[number_of(rest | {one})]
                expected[one, two] += chance * (
                    both - first - values[number_of(rest | {two})] + values[number_of(rest)]
                )
    torch.testing.assert_close(shapley_interactions(values), expected, rtol=0, atol=1e-12)


def test_a_game_of_single_features_pairs_and_a_triple_has_its_known_answer():
    z = all_coalitions(4).double()
    single, pair, triple = torch.tensor([1.0, -2.0, 0.5, 0.0]).double(), 3.0, 6.0
    values = (5 + z @ single + pair * z[:, 0] * z[:, 3] + triple * z[:, 0] * z[:, 1] * z[:, 2])[:, None]
    # A product is shared equally by its factors; of a triple, half remains between two, whether the third is in or out.
    torch.testing.assert_close(shapley_values(values)[:, 0], torch.tensor([4.5, 0.0, 2.5, 1.5]).double())
    index = torch.zeros(4, 4).double()
    index[0, 3], index[0, 1], index[0, 2], index[1, 2] = 3, 3, 3, 3
    torch.testing.assert_close(shapley_interactions(values)[..., 0], index + index.T)


def test_coalitions_are_drawn_with_the_chance_of_the_shapley_kernel():
    drawn = paired_coalitions(20_000, 5, torch.Generator().manual_seed(0))
    assert torch.equal(drawn[0::2] + drawn[1::2], torch.ones(20_000, 5))
    found = torch.bincount((drawn * 2 ** torch.arange(5)).sum(1).long(), minlength=32) / 40_000
    kernel = torch.zeros(32)
    for number, coalition in enumerate(all_coalitions(5)):
        size = int(coalition.sum())
        if 0 < size < 5:
            kernel[number] = 4 / (math.comb(5, size) * size * (5 - size))
    torch.testing.assert_close(found, kernel / kernel.sum(), rtol=0, atol=0.006)


def test_estimates_are_unbiased_with_error_bars_that_are_their_spread():
    values = game(6, 3)
    exact, total = shapley_values(values), values[-1] - values[0]
    runs = []
    for seed in range(60):
        drawn = paired_coalitions(60, 6, torch.Generator().manual_seed(seed))
        gains = values[(drawn * 2 ** torch.arange(6)).sum(1).long()] - values[0]
        runs.append(estimate_shapley(drawn, gains, total))
        torch.testing.assert_close(runs[-1].values.sum(0), total)
    found, errors = (torch.stack([getattr(run, name) for run in runs]) for name in ("values", "errors"))
    reported = errors.square().mean(0).sqrt()
    assert ((found.mean(0) - exact).abs() < 4 * reported / 60**0.5).all()
    ratios = reported / found.std(0)
    assert 0.85 < float(ratios.mean()) < 1.2
    assert 0.9 < float(((found - exact).abs() < 1.96 * errors).double().mean()) < 0.98


def test_too_few_coalitions_are_refused():
    drawn = paired_coalitions(4, 6, torch.Generator().manual_seed(0))
    with pytest.raises(ConfigError, match=r"explainer\.samples: 8 coalitions do not determine the values of 6"):
        estimate_shapley(drawn, torch.zeros(8, 1), torch.zeros(1))


@pytest.mark.parametrize(
    ("explainer", "knobs"), [("kernel_shap", {"superpixels": "grid"}), ("part_shapley", {"parts": "grid"})]
)
def test_all_coalitions_give_captums_exact_values(small: nn.Module, explainer: str, knobs: dict[str, Any]):
    images, segments = faces(2), grid_cells(SIDE, SIDE, 4)
    found = fervis.explain(
        small, images, explainer, target="all", segments=4, fill=0.25, output="logit", **knobs
    ).maps.unflatten(0, (2, 3))
    for label in range(3):
        expected = ShapleyValues(small).attribute(
            images, baselines=0.25, target=label, feature_mask=segments[None, None], perturbations_per_eval=20
        )
        torch.testing.assert_close(found[:, label], expected[:, 0].float(), rtol=1e-6, atol=1e-6)


def test_the_parts_are_the_ten_areas_and_their_interactions_are_returned(small: nn.Module):
    image = faces()
    found = fervis.explain(small, image, "part_shapley", target=1, output="probability")
    areas, fill = face_areas(SIDE, SIDE), segment_means(image[0], face_areas(SIDE, SIDE))
    assert int(areas.max()) + 1 == len(AREAS) == 10
    values = []
    for coalition in all_coalitions(10):
        shown = coalition[areas] > 0
        with torch.no_grad():
            values.append(small(torch.where(shown, image[0], fill)[None]).softmax(1)[0, 1])
    game_of_parts = torch.stack(values)[:, None]
    torch.testing.assert_close(found.maps[0].double(), shapley_values(game_of_parts)[areas, 0], rtol=1e-5, atol=1e-7)
    assert found.extras is not None
    assert found.extras["part_values"].shape == (1, 10)
    interactions = shapley_interactions(game_of_parts)[..., 0]
    torch.testing.assert_close(found.extras["interactions"][0].double(), interactions, rtol=1e-4, atol=1e-7)
    whole, nothing = values[-1], values[0]
    torch.testing.assert_close(found.extras["part_values"].sum().double(), whole - nothing, rtol=1e-5, atol=1e-7)
    assert found.scores is not None
    torch.testing.assert_close(found.scores["base"][0].double(), nothing, rtol=1e-5, atol=1e-7)
    share = interactions.abs().max() / shapley_values(game_of_parts).abs().sum()
    torch.testing.assert_close(found.scores["interaction"][0].double(), share, rtol=1e-4, atol=0)
    assert found.errors is None


def test_kernel_shap_is_near_the_exact_values_and_says_how_near(small: nn.Module):
    images = faces(2)
    knobs: dict[str, Any] = {"target": "all", "superpixels": "grid", "segments": 9}
    exact = fervis.explain(small, images, "kernel_shap", samples=512, **knobs)
    assert exact.scores is not None
    assert exact.scores["samples"].tolist() == [512] * 6
    assert exact.scores["error"].tolist() == [0] * 6
    distances = []
    for seed in range(10):
        found = fervis.explain(small, images, "kernel_shap", samples=200, seed=seed, **knobs)
        assert found.errors is not None
        distances.append(((found.maps - exact.maps) / found.errors).flatten(1))
        cells = found.maps[:, 2::4, 2::4].sum((1, 2))  # one pixel of each of nine cells
        torch.testing.assert_close(cells, exact.maps[:, 2::4, 2::4].sum((1, 2)), rtol=1e-5, atol=1e-6)
    size = torch.stack(distances).square().mean().sqrt()
    assert 0.7 < float(size) < 1.4, "in standard errors"


def test_kernel_shap_stops_when_the_error_is_small_enough(small: nn.Module):
    knobs: dict[str, Any] = {"target": 1, "superpixels": "grid", "segments": 16}
    whole = fervis.explain(small, faces(2), "kernel_shap", samples=2000, **knobs)
    assert whole.scores is not None
    target = 2 * float(whole.scores["error"].max())
    some = fervis.explain(small, faces(2), "kernel_shap", samples=2000, error_target=target, **knobs)
    assert some.scores is not None
    assert (some.scores["samples"] < 1000).all()
    assert (some.scores["error"] < target).all()
    assert (whole.scores["samples"] == 2000).all()


@pytest.mark.parametrize("output", ["logit", "probability"])
@pytest.mark.parametrize("superpixels", ["grid", "areas", "slic"])
def test_feature_ablation_is_captums(small: nn.Module, superpixels: str, output: str):
    images = faces(2)
    found = fervis.explain(
        small, images, "feature_ablation", target="all", superpixels=superpixels, segments=9, output=output, fill=0.25
    )
    maps = found.maps.unflatten(0, (2, 3))
    scored = small if output == "logit" else (lambda pixels: small(pixels).softmax(1))
    for number, image in enumerate(images):
        mask = cut(image, superpixels, segments=9, compactness=10.0)[None, None]
        for label in range(3):
            expected = FeatureAblation(scored).attribute(image[None], baselines=0.25, target=label, feature_mask=mask)
            torch.testing.assert_close(maps[number, label], expected[0, 0].float(), rtol=1e-6, atol=1e-6)
    assert found.errors is None
