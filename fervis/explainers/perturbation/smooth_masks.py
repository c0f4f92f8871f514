"""Smooth masks of extremal perturbations: the parameters of a coarse grid, spread by a smooth maximum (Fong 2019).

The mask at pixel u is the smooth maximum over the parameters p_i within reach of k(|u - u_i| / sigma) p_i, with
k(z) = exp(-2 max(0, z - 1/2)²): constant near a parameter, and falling smoothly. The smooth maximum of values a is
sum_i a_i exp(20 a_i) / sum_i exp(20 a_i). The geometry is that of the authors' code (TorchRay's ``MaskGenerator``).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

_COLDNESS = 20.0
_ORDERED = 1e5


class SmoothMasks:
    """Masks [M,H,W] from parameters [M,h,w], one per ``step`` pixels.

    Attributes:
        height: of the mask.
        width: of the mask.
        step: pixels from one parameter to the next.
        sigma: reach of a parameter in pixels.
        grid: h and w.
    """

    def __init__(self, height: int, width: int, step: int, sigma: float) -> None:
        self.height, self.width, self.step, self.sigma = height, width, step, sigma
        self.grid = (math.ceil(height / step), math.ceil(width / step))
        self._padding = 1 + math.ceil(2 * sigma / step)
        self._radius = 1 + math.ceil(sigma / step)
        self._weights = self._kernel()

    def _kernel(self) -> Tensor:
        """Return [K,step²] the weight of each parameter of a window at each of the pixels of a step."""
        steps = self.step * (torch.arange(2 * self._radius + 1) - self._padding) + self.sigma
        distance = torch.arange(self.step)[None] - steps[:, None]  # [window,step]
        square = distance[:, None, :, None] ** 2 + distance[None, :, None, :] ** 2
        beyond = (square.sqrt() / self.sigma - 0.5).clamp(min=0)
        return torch.exp(-2 * beyond**2).flatten(2).flatten(0, 1)

    def __call__(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Return the masks [M,H,W] in [0, 1], and the same with a margin of about sigma on each side [M,H',W']."""
        whole = torch.cat([self._spread(some) for some in parameters.split(1)])
        whole = whole[:, : 1 - self.step or None, : 1 - self.step or None].clamp(0, 1)
        margin = round(self.sigma)
        return whole[:, margin : margin + self.height, margin : margin + self.width], whole

    def _spread(self, parameters: Tensor) -> Tensor:
        """Return the smooth maximum of each pixel's window; one mask at a time stays in the processor's cache."""
        window = 2 * self._radius + 1
        rows, columns = (size + 2 * self._padding - window + 1 for size in self.grid)
        values = F.unfold(parameters[:, None], window, padding=self._padding)[0]  # [K,rows*columns]
        masks = SmoothMaximum.apply(values, self._weights.to(values))  # [step²,rows*columns]
        return masks.view(self.step, self.step, rows, columns).permute(2, 0, 3, 1).reshape(1, rows * self.step, -1)


class SmoothMaximum(torch.autograd.Function):
    """The smooth maximum m over k of a_k = w_kf p_kx; its slope in p_k is w_k e_k / sum(e) (1 + 20 (a_k - m))."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, weights: Tensor) -> Tensor:
        """Return [f,x] of values [k,x] and weights [k,f]."""
        products = weights[:, :, None] * values[:, None]
        share = torch.exp(_COLDNESS * products)
        share /= share.sum(0)
        maximum = (share * products).sum(0)
        ctx.save_for_backward(products, share, maximum, weights)
        return maximum

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the gradient of the values [k,x]."""
        products, share, maximum, weights = ctx.saved_tensors
        moves = (products - maximum).mul_(_COLDNESS).add_(1).mul_(share).mul_(slopes[0]).mul_(weights[:, :, None])
        return moves.sum(1), None


def area_loss(masks: Tensor, area: float) -> Tensor:
    """Return [M] the mean squared difference of the sorted values of a mask [M,H,W] from zeros and a share of ones.

    It is 0 for a mask that is 1 on the share ``area`` of its pixels and 0 on the others. Values that differ by less
    than 1e-5 keep the order of their pixels: else rounding would choose which of the equal values of the first mask
    fall, and so where the search goes.
    """
    flat = masks.flatten(1)
    ordered = flat.gather(1, (flat.detach() * _ORDERED).round().argsort(dim=1, stable=True))
    zeros = int(ordered.shape[1] * (1 - area))
    wanted = (torch.arange(ordered.shape[1], device=masks.device) >= zeros).to(masks)
    return (ordered - wanted).square().mean(1)
