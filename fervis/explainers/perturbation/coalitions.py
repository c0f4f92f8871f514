"""Coalitions of features: Shapley values and interactions from all of them, and estimates from some.

A game gives each coalition z, a row of d zeros and ones, 1 for each feature that is shown, a value v(z). The
Shapley value of feature i is the mean, over all orders in which features are added, of what it adds (Shapley 1953).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import factorial

import torch
from torch import Generator, Tensor

from fervis.errors import ConfigError


def all_coalitions(features: int) -> Tensor:
    """Return [2^d,d] float32 every coalition, in binary order: row 0 is empty, the last row is full."""
    numbers = torch.arange(2**features)
    return (numbers[:, None] >> torch.arange(features) & 1).float()


def shapley_values(values: Tensor) -> Tensor:
    """Return the exact Shapley values [d,K] float64 of the values [2^d,K] of ``all_coalitions``.

    phi_i = sum over S without i of |S|! (d - |S| - 1)! / d! (v(S and i) - v(S)).
    """
    features = len(values).bit_length() - 1
    shown = all_coalitions(features).double()
    others = (shown.sum(1, keepdim=True) - shown).long()
    chance = torch.tensor(
        [factorial(size) * factorial(features - size - 1) / factorial(features) for size in range(features)],
        dtype=torch.float64,
    )
    return ((2 * shown - 1) * chance[others]).T @ values.double()


def shapley_interactions(values: Tensor) -> Tensor:
    """Return the Shapley interaction index [d,d,K] float64 of each pair from the values [2^d,K] of ``all_coalitions``.

    I_ij = sum over S without i and j of |S|! (d - |S| - 2)! / (d - 1)! (v(S, i, j) - v(S, i) - v(S, j) + v(S)): what
    two features add together beyond what they add apart (Grabisch and Roubens 1999, Int. J. Game Theory 28); 0 on the
    diagonal.
    """
    features = len(values).bit_length() - 1
    shown = all_coalitions(features).double()
    chance = torch.tensor(
        [factorial(size) * factorial(features - size - 2) / factorial(features - 1) for size in range(features - 1)],
        dtype=torch.float64,
    )
    index = torch.zeros(features, features, values.shape[1], dtype=torch.float64)
    for one in range(features):
        for two in range(one):
            others = (shown.sum(1) - shown[:, one] - shown[:, two]).long()
            signs = (2 * shown[:, one] - 1) * (2 * shown[:, two] - 1)
            index[one, two] = index[two, one] = (signs * chance[others]) @ values.double()
    return index


def paired_coalitions(pairs: int, features: int, generator: Generator) -> Tensor:
    """Draw [2n,d] float32 coalitions with the chance of the Shapley kernel, each followed by its complement.

    Their size k, from 1 to d - 1, has a chance proportional to 1 / (k (d - k)), and all coalitions of a size have the
    same (Lundberg and Lee 2017); the complement makes the estimate of d values surer at the same number of passes
    (Covert and Lee 2021, arXiv:2012.01536).
    """
    sizes = torch.arange(1, features)
    drawn = 1 + torch.multinomial(1 / (sizes * (features - sizes)), pairs, replacement=True, generator=generator)
    ranks = torch.rand(pairs, features, generator=generator).argsort(1).argsort(1)
    shown = (ranks < drawn[:, None]).float()
    return torch.stack([shown, 1 - shown], 1).flatten(0, 1)


@dataclass(frozen=True)
class ShapleyEstimate:
    """Estimated Shapley values of d features for K labels; float64.

    Attributes:
        values: [d,K]; they add up to the difference of the full and the empty coalition.
        errors: [d,K], their standard errors.
    """

    values: Tensor
    errors: Tensor


def estimate_shapley(coalitions: Tensor, gains: Tensor, total: Tensor) -> ShapleyEstimate:
    """Estimate Shapley values by least squares, from coalitions drawn in pairs with the chance of the Shapley kernel.

    The values b minimise the mean of (y - z b)² under the condition that they add up to the total. With A the mean of
    z z', a pair moves them by P A^-1 times its z r, r being the residuals and P the projection that keeps the total;
    pairs are independent, so that the sum of squared moves estimates the variance.

    Args:
        coalitions: [2n,d] as ``paired_coalitions`` draws them.
        gains: [2n,K], their values less that of the empty coalition.
        total: [K], the value of the full coalition less that of the empty one.

    Raises:
        ConfigError: the coalitions do not determine the values.
    """
    z, y, total = coalitions.double(), gains.double(), total.double()
    count, features = z.shape
    factor, failed = torch.linalg.cholesky_ex(z.T @ z / count)
    if failed or count // 2 <= features:
        raise ConfigError(
            f"explainer.samples: {count} coalitions do not determine the values of {features} superpixels; expected "
            f"{4 * features} or more."
        )
    ones = torch.cholesky_solve(torch.ones_like(z[:1]).T, factor)
    free = torch.cholesky_solve(z.T @ y / count, factor)
    values = free - ones * (free.sum(0) - total) / ones.sum()
    inverse = torch.cholesky_inverse(factor)
    projected = inverse - ones @ ones.T / ones.sum()
    scores = (z[:, :, None] * (y - z @ values)[:, None]).unflatten(0, (-1, 2)).sum(1)
    moves = torch.einsum("de,nek->ndk", projected, scores) / count
    freedom = count // 2 / (count // 2 - features + 1)
    return ShapleyEstimate(values, (moves.square().sum(0) * freedom).sqrt())
