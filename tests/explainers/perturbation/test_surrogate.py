"""Weighted ridge against scikit-learn and closed forms; LIME's kernel against the lime package's words."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.metrics import pairwise_distances

from fervis.errors import ConfigError
from fervis.explainers.perturbation.surrogate import bernoulli_samples, fit_ridge, keep_top, kernel_weights


def draws(samples: int = 200, features: int = 9) -> torch.Tensor:
    return bernoulli_samples(samples, features, torch.Generator().manual_seed(1))


@pytest.mark.parametrize("alpha", [1e-6, 0.01, 1.0, 30.0])
def test_it_is_scikit_learns_ridge_for_every_label(alpha: float):
    samples = draws()
    weights = kernel_weights(samples, 0.25)
    values = torch.randn(200, 5, generator=torch.Generator().manual_seed(2)) + samples[:, :5] * torch.arange(5)
    values[:, 4] = 0.25  # a label that never changes
    found = fit_ridge(samples, values, weights, alpha)
    for label in range(5):
        x, y, w = samples.double().numpy(), values[:, label].double().numpy(), weights.numpy()
        theirs = Ridge(alpha=alpha).fit(x, y, sample_weight=w)
        np.testing.assert_allclose(found.coefficients[:, label], theirs.coef_, rtol=0, atol=1e-10)
        np.testing.assert_allclose(found.intercepts[label], theirs.intercept_, rtol=0, atol=1e-10)
        if label < 4:
            np.testing.assert_allclose(found.r2[label], theirs.score(x, y, sample_weight=w), rtol=0, atol=1e-10)
    assert found.r2[4] == 1
    assert not found.coefficients[:, 4].any()


def test_without_a_penalty_a_linear_truth_comes_back_and_fits_exactly():
    truth = torch.randn(9, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    samples = draws().double()
    found = fit_ridge(samples, samples @ truth + 2, kernel_weights(samples, 0.25), 1e-12)
    torch.testing.assert_close(found.coefficients, truth, rtol=0, atol=1e-9)
    torch.testing.assert_close(found.intercepts, torch.full((3,), 2.0).double(), rtol=0, atol=1e-9)
    torch.testing.assert_close(found.r2, torch.ones(3).double(), rtol=0, atol=1e-9)


def test_over_all_subsets_a_weight_is_the_mean_with_a_feature_less_the_mean_without():
    subsets = torch.tensor(list(itertools.product([0.0, 1.0], repeat=6)))
    values = torch.randn(64, 2, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    found = fit_ridge(subsets, values, torch.ones(64), 0.0).coefficients
    for feature in range(6):
        on = subsets[:, feature] == 1
        torch.testing.assert_close(found[feature], values[on].mean(0) - values[~on].mean(0), rtol=0, atol=1e-12)


def test_nearness_is_the_kernel_of_the_cosine_distance():
    samples = draws(50, 7)
    samples[3] = 0
    distance = pairwise_distances(samples.numpy(), samples[:1].numpy(), metric="cosine").ravel()
    np.testing.assert_allclose(kernel_weights(samples, 0.3), np.sqrt(np.exp(-(distance**2) / 0.3**2)), rtol=1e-5)
    assert kernel_weights(samples, 0.3)[0] == 1


def test_coin_tosses_begin_with_the_whole_image_and_come_from_the_generator():
    generator = torch.Generator().manual_seed(5)
    expected = torch.randint(0, 2, (40, 8), generator=torch.Generator().manual_seed(5)).float()
    found = bernoulli_samples(40, 8, generator)
    assert found[0].tolist() == [1] * 8
    assert torch.equal(found[1:], expected[1:])


def test_samples_that_determine_nothing_are_refused():
    with pytest.raises(ConfigError, match=r"explainer.alpha=0: 3 samples do not determine the weights of 9"):
        fit_ridge(draws(3), torch.zeros(3, 2), torch.ones(3), 0.0)


def test_the_strongest_are_kept_whatever_their_sign():
    values = torch.tensor([0.1, -0.5, 0.3, 0.0, -0.2])
    assert keep_top(values, 2).tolist() == pytest.approx([0, -0.5, 0.3, 0, 0])
    assert torch.equal(keep_top(values, 0), values)
    assert torch.equal(keep_top(values, 9), values)


def test_the_strongest_of_each_label():
    values = torch.tensor([[0.1, 3.0], [-0.5, 1.0], [0.3, -2.0]])
    assert torch.equal(keep_top(values, 1), torch.tensor([[0.0, 3.0], [-0.5, 0.0], [0.0, 0.0]]))


def test_standard_errors_are_those_of_leaving_one_sample_out():
    """The jackknife, literally: refit without each sample. Without penalty the two agree but for the means' refit."""
    samples = draws(120, 6)
    weights = kernel_weights(samples, 0.25)
    generator = torch.Generator().manual_seed(2)
    values = torch.randn(120, 2, generator=generator).double() * (0.2 + samples[:, :1]) + samples[:, :2]
    fits = []
    for left in range(120):
        rest = [index for index in range(120) if index != left]
        fits.append(fit_ridge(samples[rest], values[rest], weights[rest], 1e-9).coefficients)
    moves = torch.stack(fits) - fit_ridge(samples, values, weights, 1e-9).coefficients
    jackknife = (moves**2).sum(0) - moves.sum(0) ** 2 / 120
    found = fit_ridge(samples, values, weights, 1e-9).errors
    torch.testing.assert_close(found, jackknife.sqrt(), rtol=1e-6, atol=0)


def test_samples_that_the_model_fits_exactly_leave_no_error():
    samples = draws()
    fit = fit_ridge(samples, samples.double() @ torch.randn(9, 2).double(), torch.ones(200), 1e-12)
    assert float(fit.errors.max()) < 1e-10
