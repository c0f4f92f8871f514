"""Noisy linear imputation: removed pixels as weighted means of their neighbours (Rong et al. 2022, arXiv:2202.00449).

A removed pixel equals the mean of its up to eight neighbours, of which those that share a side weigh twice as much as
those that share a corner. That is one linear system per set of removed pixels, over removed pixels alone; its matrix is
symmetric, positive definite as long as one pixel is left, and a stencil of 3 x 3, so that conjugate gradients solve
many systems at once without any of them being written down.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_MOST_ITERATIONS = 2000
_CHECKED_EVERY = 8  # iterations between two checks of the residuals
_RESIDUAL = {torch.float64: 1e-10}
_RESIDUAL_ELSE = 1e-6  # of the residual, relative to the right side


def linear_imputation(image: Tensor, removed: Tensor) -> Tensor:
    """Return the image [S,C,H,W] with each of S sets of pixels imputed from the others.

    Args:
        image: [C,H,W] float.
        removed: [S,H,W] bool; where nothing is left, the image's mean stands in.
    """
    everything = removed.flatten(1).all(1)[:, None, None, None]
    gone = (removed[:, None] & ~everything).to(image)
    seen = torch.where(everything, image.mean((1, 2))[:, None, None], image) * (1 - gone)
    weight = _neighbour_sums(torch.ones_like(image[:1])[None])  # of the neighbours there are: less at the border
    mean = seen.sum((2, 3), keepdim=True) / (1 - gone).sum((2, 3), keepdim=True)
    right = gone * _neighbour_sums(seen)

    def stencil(values: Tensor) -> Tensor:
        return gone * (weight * values - _neighbour_sums(values))

    return seen + _conjugate_gradients(stencil, right, gone * mean, weight)


def _neighbour_sums(values: Tensor) -> Tensor:
    """Sum the eight neighbours [...,H,W] by 1/6 for sides and 1/12 for corners; pixels outside count as 0.

    The weights are those of [1,2,1] x [1,2,1] / 12 without its centre, and so are computed row by row and column by
    column.
    """
    total = 2 * values
    total[..., 1:, :] += values[..., :-1, :]
    total[..., :-1, :] += values[..., 1:, :]
    sums = total * 2 - 4 * values
    sums[..., 1:] += total[..., :-1]
    sums[..., :-1] += total[..., 1:]
    return sums.mul_(1 / 12)


def _conjugate_gradients(stencil: Callable[[Tensor], Tensor], right: Tensor, start: Tensor, diagonal: Tensor) -> Tensor:
    """Solve stencil(x) = right for each system [S,C,H,W], preconditioned by the diagonal."""
    scale = right.square().sum((2, 3), keepdim=True)
    tolerance = _RESIDUAL.get(right.dtype, _RESIDUAL_ELSE) ** 2
    values, residual = start, right - stencil(start)
    direction = residual / diagonal
    inner = (residual * direction).sum((2, 3), keepdim=True)
    for number in range(_MOST_ITERATIONS):
        if number % _CHECKED_EVERY == 0:
            left = residual.square().sum((2, 3), keepdim=True)
            if bool((left <= tolerance * scale).all()):
                break
        image = stencil(direction)
        curvature = (direction * image).sum((2, 3), keepdim=True)
        step = torch.where(curvature > 0, inner / curvature.clamp(min=1e-38), 0.0)
        values = torch.addcmul(values, step, direction)
        residual = torch.addcmul(residual, step, image, value=-1)
        preconditioned = residual / diagonal
        following = (residual * preconditioned).sum((2, 3), keepdim=True)
        share = torch.where(inner > 0, following / inner.clamp(min=1e-38), 0.0)
        direction, inner = torch.addcmul(preconditioned, share, direction), following
    return values
