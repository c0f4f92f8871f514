"""Similarity of maps against scikit-image and scipy, and at the maps that have none."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from skimage.metrics import structural_similarity

from fervis.errors import ConfigError
from fervis.metrics.similarity import spearman, ssim, to_own_range


def maps(seed: int, count: int = 4, height: int = 20, width: int = 15) -> torch.Tensor:
    return torch.rand(count, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("data_range", [1.0, 255.0])
def test_ssim_is_that_of_scikit_image_with_the_window_of_the_paper(data_range: float):
    first = data_range * maps(0)
    second = 0.6 * first + 0.4 * data_range * maps(1)
    expected = [
        structural_similarity(
            a, b, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=data_range
        )
        for a, b in zip(first.double().numpy(), second.double().numpy(), strict=True)
    ]
    np.testing.assert_allclose(ssim(first, second, data_range=data_range).numpy(), expected, atol=1e-12)
    assert np.ptp(expected) > 0.05


def test_ssim_of_a_map_with_itself_is_one_and_of_zeros_too():
    first = torch.cat([maps(2), torch.zeros(1, 20, 15)])
    torch.testing.assert_close(ssim(first, first), torch.ones(5, dtype=torch.float64))


def test_ssim_needs_a_map_as_large_as_its_window():
    assert ssim(maps(0, 1, 11, 11), maps(1, 1, 11, 11)).shape == (1,)
    with pytest.raises(ConfigError, match=r"maps of 12 x 10: .* window of 11 x 11"):
        ssim(maps(0, 1, 12, 10), maps(1, 1, 12, 10))


def test_spearman_is_that_of_scipy_with_and_without_ties():
    first = torch.cat([maps(3), (4 * maps(4)).floor(), -maps(5).relu()])
    second = torch.cat([maps(6), (3 * maps(4)).floor(), maps(5) ** 3])
    expected = [spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(first.numpy(), second.numpy(), strict=True)]
    np.testing.assert_allclose(spearman(first, second).numpy(), expected, rtol=0, atol=1e-12)
    assert float(spearman(first, second)[-1]) == pytest.approx(-1, abs=1e-12)


def test_spearman_knows_order_only_and_a_constant_map_has_none():
    first = maps(7)
    torch.testing.assert_close(spearman(first, first.exp() * 100), torch.ones(4, dtype=torch.float64))
    constant = torch.full_like(first, 0.1)
    assert spearman(first, constant).isnan().all()
    assert spearman(constant, constant).isnan().all()


def test_a_map_is_compared_whatever_batch_it_is_in():
    first, second = maps(8), maps(9)
    for measure in (spearman, ssim):
        alone = torch.cat([measure(first[k : k + 1], second[k : k + 1]) for k in range(4)])
        torch.testing.assert_close(measure(first, second), alone, rtol=0, atol=1e-13)


def test_magnitudes_go_from_their_least_to_their_largest_and_signed_maps_have_zero_in_the_middle():
    some = torch.tensor([[[2.0, 4.0], [3.0, 6.0]], [[5.0, 5.0], [5.0, 5.0]]])
    expected = torch.tensor([[[0.0, 0.5], [0.25, 1.0]], [[0.0, 0.0], [0.0, 0.0]]], dtype=torch.float64)
    assert torch.equal(to_own_range(some, signed=False), expected)
    signed = torch.tensor([[[-4.0, 0.0], [1.0, 2.0]], [[0.0, 0.0], [0.0, 0.0]]])
    expected = torch.tensor([[[0.0, 0.5], [0.625, 0.75]], [[0.5, 0.5], [0.5, 0.5]]], dtype=torch.float64)
    assert torch.equal(to_own_range(signed, signed=True), expected)


@pytest.mark.parametrize("signed", [False, True])
def test_the_unit_of_a_map_does_not_matter(signed: bool):
    first, second = maps(10) - 0.3 * signed, maps(11) - 0.3 * signed

    def compared(factor: float) -> torch.Tensor:
        ranged = [to_own_range(values, signed=signed) for values in (first, factor * second)]
        return ssim(*ranged)

    torch.testing.assert_close(compared(1.0), compared(1e-6), rtol=1e-5, atol=1e-7)
