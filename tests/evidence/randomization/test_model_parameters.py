"""Model parameters against SciPy and scikit-image over the networks that the method is run on.

Quantus 0.6 counts the original network, whose similarity is 1, in its mean, and takes SSIM of flattened maps; Adebayo
et al. (2018) decide: randomized networks alone, and SSIM of images.
"""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from skimage.metrics import structural_similarity
from support.measures import batch_for, gradient_of
from torch import Tensor, nn

from fervis.core.registry import build_plugin
from fervis.evidence.protocol import ExplainAgain


@pytest.fixture(scope="module")
def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Conv2d(4, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 64, 2)]
        return nn.Sequential(*layers)


def scaled(maps: Tensor) -> np.ndarray:
    values = maps.abs().double().numpy()
    return (values - values.min()) / (values.max() - values.min())


@pytest.mark.parametrize("order", ["cascading", "independent"])
@pytest.mark.parametrize("change", [Tensor.abs, Tensor.clone])
def test_it_is_the_mean_similarity_over_the_randomized_networks(network: nn.Module, order: str, change: object):
    images = torch.rand(2, 1, 12, 12, generator=torch.Generator().manual_seed(1))
    batch = batch_for(torch.zeros(2, 2, 12, 12), model=network, images=images)
    method = gradient_of(batch, change)  # pyright: ignore[reportArgumentType]
    maps, used = method(), []

    def again(images: Tensor | None = None, model: nn.Module | None = None, *, seed: int | None = None) -> Tensor:
        used.append(copy.deepcopy(model))
        return method(images, model)

    scores = build_plugin("evidence", "model_parameters", order=order, curves=True).measure(batch, maps, again)
    fresh = [[not torch.equal(one[i].weight, network[i].weight) for i in (5, 2, 0)] for one in used]  # pyright: ignore
    rows = {"cascading": [[1, 0, 0], [1, 1, 0], [1, 1, 1]], "independent": [[1, 0, 0], [0, 1, 0], [0, 0, 1]]}
    assert fresh == [[bool(one) for one in row] for row in rows[order]]
    others = [method(model=one) for one in used]
    for n, t in np.ndindex(2, 2):
        first = maps[n, t]
        curves = {
            "": [spearmanr(first.abs().flatten(), one[n, t].abs().flatten()).statistic for one in others],
            "signed": [spearmanr(first.flatten(), one[n, t].flatten()).statistic for one in others],
            "ssim": [
                structural_similarity(
                    *map(scaled, (first, one[n, t])),
                    gaussian_weights=True,
                    sigma=1.5,
                    use_sample_covariance=False,
                    data_range=1,
                )
                for one in others
            ],
        }
        for part, curve in curves.items():
            assert float(scores[part][n, t]) == pytest.approx(np.mean(curve), abs=1e-9)
            for name, value in zip(("5", "conv2", "conv1"), curve, strict=True):
                assert float(scores["/".join(filter(None, (name, part)))][n, t]) == pytest.approx(value, abs=1e-9)


def constant_again(maps: Tensor) -> ExplainAgain:
    return lambda images=None, model=None, *, seed=None: maps


def test_a_map_that_never_changes_reaches_one_and_a_constant_map_has_no_order(network: nn.Module):
    maps = torch.rand(2, 1, 12, 12, generator=torch.Generator().manual_seed(2))
    maps[1] = 0.5
    batch = batch_for(maps, model=network)
    scores = build_plugin("evidence", "model_parameters").measure(batch, maps, constant_again(maps))
    assert set(scores) == {"", "signed", "ssim"}
    assert float(scores[""][0, 0]) == pytest.approx(1)
    assert float(scores["ssim"][0, 0]) == pytest.approx(1)
    assert scores[""][1].isnan().all()


def test_the_sign_counts_where_it_is_asked_for(network: nn.Module):
    maps = torch.rand(1, 1, 12, 12, generator=torch.Generator().manual_seed(3))
    scores = build_plugin("evidence", "model_parameters", steps=1).measure(
        batch_for(maps, model=network), maps, constant_again(-maps)
    )
    assert float(scores[""][0, 0]) == pytest.approx(1)
    assert float(scores["signed"][0, 0]) == pytest.approx(-1)


def test_maps_smaller_than_the_window_have_no_structural_similarity():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    maps = torch.rand(1, 1, 8, 8)
    scores = build_plugin("evidence", "model_parameters").measure(
        batch_for(maps, model=model), maps, constant_again(maps)
    )
    assert set(scores) == {"", "signed"}
