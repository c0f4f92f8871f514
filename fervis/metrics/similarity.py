"""Similarity of two maps of one face: structural similarity in two dimensions, and rank correlation.

Both compare where maps are strong, and neither depends on the unit: SSIM is taken of maps that were brought to their
own range first, since gradients of two networks differ in size by orders, and ranks have no unit at all.
"""

from __future__ import annotations

import torch
from scipy.stats import rankdata
from torch import Tensor

from fervis.errors import ConfigError
from fervis.metrics.gaussian import gaussian_blur

WINDOW, SIGMA = 11, 1.5  # pixels; those of Wang et al. 2004
K1, K2 = 0.01, 0.03


def to_own_range(maps: Tensor, *, signed: bool) -> Tensor:
    """Scale [N,H,W] maps each to its own range, as Adebayo et al. 2018 (arXiv:1810.03292) do; float64 in [0, 1].

    Magnitudes go from the map's least value to its largest; a constant map becomes 0. Signed maps go from the negative
    to the positive of their largest absolute value, so that 0 is at 0.5; a map of zeros becomes 0.5. SSIM asks for
    values that are not negative: it would take two negative factors for similarity.
    """
    maps = maps.double()
    high = (maps.abs() if signed else maps).amax((1, 2), keepdim=True)
    low = -high if signed else maps.amin((1, 2), keepdim=True)
    flat = high == low
    return torch.where(flat, 0.5 if signed else 0.0, (maps - low) / torch.where(flat, 1.0, high - low))


def ssim(first: Tensor, second: Tensor, *, data_range: float = 1.0) -> Tensor:
    """Compute the structural similarity (Wang, Bovik, Sheikh and Simoncelli 2004, IEEE TIP 13(4)), map by map.

    Means, variances and the covariance are those under a Gaussian window of 11 x 11 pixels and sigma 1.5, divided by
    its sum; K1 is 0.01 and K2 0.03; the mean is over all positions at which the window is inside the map. It is what
    ``skimage.metrics.structural_similarity`` gives with ``gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False``. Two maps of zeros have the similarity 1.

    Args:
        first: [N,H,W] float, not negative, H and W at least 11.
        second: [N,H,W] float, not negative.
        data_range: distance between the least and the largest value there can be; 1 after ``to_own_range``.

    Returns:
        [N] float64 in [-1, 1].

    Raises:
        ConfigError: the maps are smaller than the window.
    """
    if min(first.shape[1:]) < WINDOW:
        raise ConfigError(
            f"maps of {first.shape[1]} x {first.shape[2]}: structural similarity has a window of {WINDOW} x {WINDOW} "
            "pixels; expected larger maps."
        )
    x, y = first.double()[:, None], second.double()[:, None]
    mean_x, mean_y = _blurred(x), _blurred(y)
    var_x, var_y = _blurred(x * x) - mean_x**2, _blurred(y * y) - mean_y**2
    covariance = _blurred(x * y) - mean_x * mean_y
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    alike = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return (alike / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))).mean((1, 2, 3))


def spearman(first: Tensor, second: Tensor) -> Tensor:
    """Compute Spearman's rank correlation over the pixels, map by map; equal values share the mean of their ranks.

    Args:
        first: [N,H,W] float.
        second: [N,H,W] float.

    Returns:
        [N] float64 in [-1, 1], NaN where one of the two maps is constant and has no order.
    """
    return ranks_correlation(centered_ranks(first), centered_ranks(second))


def centered_ranks(maps: Tensor) -> Tensor:
    """Return the ranks of each map's pixels [N,P] float64, centred; equal values get the mean of their ranks.

    For a map that is compared with several others; ``ranks_correlation`` compares two of these.
    """
    # Centred by the mean of 1 .. P, so that the ranks of constant maps are exactly 0.
    flat = maps.detach().flatten(1)
    return torch.from_numpy(rankdata(flat.cpu().numpy(), axis=1)).to(maps.device) - (flat.shape[1] + 1) / 2


def ranks_correlation(first: Tensor, second: Tensor) -> Tensor:
    """Return Spearman's correlation [N] of maps whose centred ranks are given; NaN where a map is constant."""
    # 0 / 0 is the NaN of constant maps.
    squares = first.square().sum(1) * second.square().sum(1)
    return ((first * second).sum(1) / squares.sqrt()).clamp(-1, 1)


def _blurred(maps: Tensor) -> Tensor:
    return gaussian_blur(maps, SIGMA, reach=WINDOW // 2, mirror=False)
