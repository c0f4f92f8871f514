"""From the pixels of an image to what a network's layers get, and back with relevance."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fervis.core.network import Network, image_statistics
from fervis.explainers.relevance.lrp_rules import STABILIZER, stabilized


def pixel_relevance(model: nn.Module, images: Tensor, relevance: Tensor) -> Tensor:
    """Return the relevance [N,C,H,W] of the pixels from that of what the network's body got.

    Normalisation passes it on. Where the network changed the size or the channels, the pixels share in proportion to
    what they add.
    """
    if not isinstance(model, Network) or relevance.shape == images.shape:
        return relevance
    with torch.enable_grad():
        pixels = images.detach().clone().requires_grad_()
        fitted = model.fitted(pixels)
        (slope,) = torch.autograd.grad(fitted, pixels, relevance / stabilized(fitted.detach(), STABILIZER))
    return images * slope


def pixel_bounds(model: nn.Module, images: Tensor, bounds: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """Return the lowest and highest value of what a network's body gets, from those of pixels; [n,C,1,1], n 1 or N."""
    low, high = (images.new_full((1, 1, 1, 1), bound) for bound in bounds)
    if not isinstance(model, Network):
        return low, high
    low, high = ((bound - model.mean) / model.std for bound in (low, high))
    if not model.standardize:
        return low, high
    mean, deviation = image_statistics((model.fitted(images) - model.mean) / model.std)
    return (low - mean) / deviation, (high - mean) / deviation
