"""Measures of evidence against closed forms and literal re-implementations, and their numbers in a run."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
import torch
from support.command import SMALL
from torch import Tensor, nn

from fervis.core.faces import Truth
from fervis.core.layers import resolve_layers
from fervis.core.registry import build_plugin
from fervis.core.targets import class_targets
from fervis.evidence.baselines import edge_map, random_map
from fervis.evidence.complexity.sparseness import gini
from fervis.metrics.bootstrap import RESAMPLES
from fervis.models.batch import Batch
from fervis.runs.evidence import image_mean, image_means


class Share(nn.Module):
    """Two classes whose first has the probability of the mean pixel."""

    def forward(self, images: Tensor) -> Tensor:
        share = images.flatten(1).mean(1).clamp(1e-6, 1 - 1e-6)
        return torch.stack([share.log(), (1 - share).log()], 1)


def batch_of(model: nn.Module, images: Tensor, targets: list[list[int]], truth: Truth | None = None) -> Batch:
    layers = resolve_layers(model, "input", images[:1])
    return Batch(model, images, layers, class_targets(torch.tensor(targets)), classes=("a", "b"), truth=truth)


def refuse(images: Tensor | None = None, model: nn.Module | None = None) -> Tensor:
    raise AssertionError("nothing is to be explained again")


def test_deletion_and_insertion_of_a_network_that_averages_pixels_are_sums_of_sorted_pixels():
    image = torch.rand(1, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    batch = batch_of(Share(), image, [[0, 1]])
    maps = image[:, 0, None].expand(-1, 2, -1, -1)
    deleted = build_plugin("evidence", "deletion", steps=16).measure(batch, maps, refuse)[""]
    left = [image.flatten().sort().values[: 16 - k].sum().item() / 16 for k in range(17)]
    expected = sum((one + two) / 2 for one, two in itertools.pairwise(left)) / 16
    torch.testing.assert_close(deleted, torch.tensor([[expected, 1 - expected]]), rtol=0, atol=1e-5)
    # A box over the whole image makes the fill constant: what is shown beyond it is what is taken in order.
    inserted = build_plugin("evidence", "insertion", steps=16, blur=101).measure(batch, maps, refuse)[""]
    mean, ordered = image.mean().item(), image.flatten().sort(descending=True).values
    shown = [(ordered[:k].sum().item() + (16 - k) * mean) / 16 for k in range(17)]
    expected = sum((one + two) / 2 for one, two in itertools.pairwise(shown)) / 16
    torch.testing.assert_close(inserted[0, 0], torch.tensor(expected), rtol=0, atol=1e-5)


def test_insertion_is_not_less_for_the_map_that_orders_best():
    image = torch.rand(1, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    batch = batch_of(Share(), image, [[0]])
    measure = build_plugin("evidence", "insertion", steps=36)
    best, worst = (measure.measure(batch, sign * image[:, 0, None], refuse)[""] for sign in (1, -1))
    assert best > worst


def test_gini_is_the_mean_absolute_difference_over_twice_the_mean():
    values = torch.rand(3, 30, generator=torch.Generator().manual_seed(2)).double()
    apart = (values[:, :, None] - values[:, None]).abs().mean((1, 2))
    torch.testing.assert_close(gini(values).double(), apart / (2 * values.mean(1)), rtol=1e-6, atol=0)
    assert gini(torch.zeros(1, 5)) == 0
    assert gini(torch.ones(1, 5)).abs() < 1e-7


def test_pointing_game_counts_hits_and_shares_them_between_equal_values():
    evidence = torch.zeros(3, 2, 2, dtype=torch.bool)
    evidence[0, 0, 0] = evidence[1, 0, 0] = True  # the third image has none
    truth = Truth(evidence, torch.zeros(3, 2, 2, dtype=torch.uint8), ("",), torch.zeros(3, 1), ("AU1",))
    maps = torch.tensor([[[3.0, 1], [0, 0]], [[5, 5], [0, 0]], [[1, 2], [3, 4]]])[:, None]
    batch = batch_of(Share(), torch.rand(3, 1, 2, 2), [[0]] * 3, truth)
    found = build_plugin("evidence", "pointing_game").measure(batch, maps, refuse)
    assert found[""][:2].tolist() == [[1.0], [0.5]]
    assert math.isnan(found[""][2, 0])
    assert found["chance"][0, 0] == 0.25


def test_edge_map_is_the_sobel_magnitude_and_random_map_is_the_same_for_every_image():
    images = torch.rand(2, 3, 5, 6, generator=torch.Generator().manual_seed(3))
    batch = batch_of(Share(), images, [[0, 1], [1, 0]])
    grey = np.pad(images.mean(1).numpy(), ((0, 0), (1, 1), (1, 1)), mode="edge")
    kernel = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], float)
    expected = np.zeros((2, 5, 6))
    for n, y, x in np.ndindex(2, 5, 6):
        window = grey[n, y : y + 3, x : x + 3]
        expected[n, y, x] = math.hypot((window * kernel).sum(), (window * kernel.T).sum())
    np.testing.assert_allclose(edge_map(batch)[:, 1].numpy(), expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(random_map(batch)[0], random_map(batch)[1])


def test_means_and_intervals_are_over_images_not_entries():
    rows = torch.tensor([7, 7, 7, 9, 9, 9, 11])
    values = torch.tensor([0.0, 1, 2, 5, math.nan, 7, math.nan])
    mean = image_mean(values, rows, seed=3)
    assert mean.value == pytest.approx((1 + 6) / 2)
    draws = torch.randint(2, (RESAMPLES, 2), generator=torch.Generator().manual_seed(3))
    assert mean.low == 1.0
    assert mean.high == 6.0
    assert set(draws.flatten().tolist()) == {0, 1}


def test_scores_of_one_pattern_share_their_resamples_and_each_is_as_if_alone():
    rows = torch.tensor([7, 7, 9, 9, 11, 12])
    columns = torch.rand(5, 6, generator=torch.Generator().manual_seed(0))
    columns[1, 2:4] = columns[4, 2:4] = columns[2] = math.nan
    found = image_means(columns, rows, seed=3)
    for interval, values in zip(found, columns, strict=True):
        known = values.isfinite()
        images = rows[known].unique()
        if not len(images):
            assert math.isnan(interval.value)
            continue
        means = torch.stack([values[known & (rows == row)].double().mean() for row in images])
        draws = torch.randint(len(images), (RESAMPLES, len(images)), generator=torch.Generator().manual_seed(3))
        # Chunks of 256 draw what one draw of all does.
        ends = np.quantile(means[draws].mean(1).numpy(), [0.025, 0.975])
        np.testing.assert_allclose([interval.value, interval.low, interval.high], [means.mean(), *ends], rtol=1e-12)


def test_a_run_has_scores_of_entries_means_with_intervals_and_baselines(
    fervis: Callable[..., CompletedProcess[str]],
):
    command = [*SMALL, "model.width=4", "visualizer.dpi=50", "explainer=gradcam", "layer=conv5"]
    done = fervis(*command, "evidence=[sparseness,pointing_game]", "-q")
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.splitlines()[-1])
    summary = json.loads((folder / "summary.json").read_text())
    with np.load(folder / "arrays.npz") as arrays:
        maps, scores = arrays["maps"], arrays["scores/sparseness"]
        flat = np.sort(np.abs(maps.reshape(len(maps), -1)), 1)
        index = np.arange(1, flat.shape[1] + 1)
        by_hand = ((2 * index - flat.shape[1] - 1) * flat).sum(1) / (flat.shape[1] * flat.sum(1).clip(1e-300))
        np.testing.assert_allclose(scores, by_hand, atol=1e-5)
        assert summary["numbers"]["sparseness"] == pytest.approx(scores.mean(), abs=1e-6)
        assert [entry["sparseness"] for entry in summary["entries"]] == pytest.approx(scores.tolist(), abs=1e-5)
    names = {"sparseness/low", "sparseness/high", "sparseness/random_map", "sparseness/edge_map", "pointing_game"}
    assert names <= summary["numbers"].keys()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["explainer=confusion", "evidence=sparseness"],
            "evidence=sparseness: it scores heat maps, and explainer=confusion",
        ),
        (["evidence=sparsenes"], "Did you mean sparseness?"),
        (
            ["evidence=deletion", "evidence.deletion.steps=0"],
            "evidence.deletion.steps=0: expected a whole number from 1",
        ),
    ],
)
def test_wrong_evidence_is_refused(fervis: Callable[..., CompletedProcess[str]], arguments: list[str], sentence: str):
    done = fervis(*SMALL, *arguments)
    assert done.returncode == 2
    assert sentence in done.stderr
