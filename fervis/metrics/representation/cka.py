"""Linear centred kernel alignment: how similarly two layers represent faces, for any order and scale of filters.

Kornblith et al. 2019 (arXiv:1905.00414). It is 1 where one layer's features are those of the other turned and scaled,
and 0 where the two have nothing in common. A layer has many more features than there are faces, and there the plain
estimate is too high, even of features that are independent; the one without bias (Song et al. 2012, JMLR 13, equation
5) is summed over batches before it is divided (Nguyen, Raghu and Kornblith 2021, arXiv:2010.15327), so that sets of
any size stream. Everything is computed in float64.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

FEATURES_PER_CHUNK = 8192  # features in float64 at a time
SMALLEST_NORM = 4  # faces of which the estimate without bias can be made


def linear_cka(first: Tensor, second: Tensor) -> float:
    """Compute the plain estimate, ``||Y'X||² / (||X'X|| ||Y'Y||)`` with centred columns: for more faces than features.

    Args:
        first: [n,p] float, the features of n faces.
        second: [n,q] float, features of the same faces.

    Returns:
        In [0, 1]; NaN where features are the same for all faces.
    """
    first, second = gram(first), gram(second)
    value = (first * second).sum() / (first.square().sum() * second.square().sum()).sqrt()
    return float(value.clamp(0, 1))


def gram(features: Tensor) -> Tensor:
    """Compute the inner products of the faces' features about their mean: [n, ...] float -> [n,n] float64."""
    columns = features.flatten(1)
    products = torch.zeros(len(columns), len(columns), dtype=torch.float64, device=columns.device)
    for start in range(0, columns.shape[1], FEATURES_PER_CHUNK):
        part = columns[:, start : start + FEATURES_PER_CHUNK].double()
        part = part - part[:1]  # a feature that is the same for all faces is exactly 0, not a rounding error
        part = part - part.mean(0)
        products.addmm_(part, part.T)
    return products


def unbiased_hsic(first: Tensor, second: Tensor, weights: Tensor | None = None) -> Tensor:
    """Estimate the Hilbert-Schmidt independence criterion of two Gram matrices without bias (HSIC1, Song et al. 2012).

    It is the mean over all quadruples of distinct faces i, j, q, r of ``K_ij (L_ij + L_qr - 2 L_iq)``. With weights a
    quadruple counts ``w_i w_j w_q w_r``. Bootstrap resamples are such weights: a face drawn twice counts twice, but is
    never compared with itself, which would make all layers more similar than they are.

    Args:
        first: [n,n] float64, symmetric, n at least 4.
        second: [n,n] float64, symmetric.
        weights: [R,n] float64, how often each face counts in each of R resamples; None for once each.

    Returns:
        [R] float64 (R is 1 without weights): the weighted sum divided by the number of quadruples, n(n-1)(n-2)(n-3).
    """
    count = len(first)
    k, l = first.clone().fill_diagonal_(0), second.clone().fill_diagonal_(0)  # noqa: E741 - the paper's letters
    w = torch.ones(1, count, dtype=k.dtype, device=k.device) if weights is None else weights.to(k)
    squares, cubes, both = w**2, w**3, k * l
    kw, lw, ks, ls, bw, bs = w @ k, w @ l, squares @ k, squares @ l, w @ both, squares @ both
    total, total2 = w.sum(1), squares.sum(1)
    # Let W, W2 be the sums of w and w², B = K*L elementwise; K and L have zero diagonals, so that i = j adds nothing.
    # same = sum_ij w_i² w_j² B_ij (two pairs that are one), chain = sum_i w_i² (Kw)_i (Lw)_i (two that share a face).
    # pair, K_ij L_ij over q != r outside {i, j}: the weights of q and r sum to (W - w_i - w_j)² - (W2 - w_i² - w_j²)
    #   = W² - W2 - 2W(w_i + w_j) + 2w_i² + 2w_j² + 2w_i w_j; summing w_i w_j B_ij times this, i and j being alike,
    #   gives the four terms below.
    # triple, K_ij L_iq over j != q and r outside {i, j, q}: r has the weight W - w_i - w_j - w_q, and the sum over
    #   j != q of w_j w_q K_ij L_iq is (Kw)_i (Lw)_i - (B w²)_i. W and -w_i give the first two terms; -w_j - w_q gives
    #   -((K w²)_i (Lw)_i + (Kw)_i (L w²)_i) and, for j = q, 2 (B w³)_i back.
    # apart, K_ij L_qr: the sum over all, less the four ways in which one of i, j is one of q, r (a chain each), plus
    #   the two ways in which both are, which were taken away twice.
    same = (squares * bs).sum(1)
    chain = (squares * kw * lw).sum(1)
    pair = (
        (total**2 - total2) * (w * bw).sum(1) - 4 * total * (squares * bw).sum(1) + 4 * (cubes * bw).sum(1) + 2 * same
    )
    triple = (
        total * ((w * kw * lw).sum(1) - (w * bs).sum(1))
        - (chain - same)
        - (w * (ks * lw + kw * ls)).sum(1)
        + 2 * (cubes * bw).sum(1)
    )
    apart = (w * kw).sum(1) * (w * lw).sum(1) - 4 * chain + 2 * same
    value = (pair + apart - 2 * triple) / (count * (count - 1) * (count - 2) * (count - 3))
    return torch.where((w > 0).sum(1) >= SMALLEST_NORM, value, 0.0)


def cka(first: Sequence[Tensor], second: Sequence[Tensor], weights: Tensor | None = None) -> Tensor:
    """Compute linear CKA without bias from the Gram matrices of batches, which hold the same faces for both layers.

    Args:
        first: [m,m] float64 Gram matrices of one layer, one per batch; batches of fewer than 4 faces are left out.
        second: those of the other layer.
        weights: [R,n] float64 over the faces of all batches in their order, as ``unbiased_hsic``.

    Returns:
        [R] float64, cut to [0, 1]; NaN where a layer is the same for all faces.
    """
    sums = torch.zeros(3, 1 if weights is None else len(weights), dtype=torch.float64)
    start = 0
    for k, l in zip(first, second, strict=True):  # noqa: E741 - the paper's letters
        own = None if weights is None else weights[:, start : start + len(k)]
        start += len(k)
        if len(k) >= SMALLEST_NORM:
            sums += torch.stack([unbiased_hsic(*pair, own).cpu() for pair in ((k, l), (k, k), (l, l))])
    between, own, other = sums
    # Where there is no variance, rounding may leave either sign, and neither is an alignment.
    value = between / (own.clamp_min(0) * other.clamp_min(0)).sqrt()
    return torch.where(value.isfinite(), value, torch.nan).clamp(0, 1)
