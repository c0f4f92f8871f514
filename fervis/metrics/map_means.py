"""Means of maps in which no map outweighs another."""

from __future__ import annotations

import torch
from torch import Tensor


def magnitude_shares(maps: Tensor) -> Tensor:
    """Return the magnitudes of maps [N,H,W] as shares of their sum, float64; NaN for a map of zeros."""
    magnitudes = maps.double().abs()
    return magnitudes / magnitudes.sum((1, 2), keepdim=True)


def class_means(shares: Tensor, labels: Tensor, classes: Tensor) -> Tensor:
    """Return the mean [K,H,W] of the maps [N,H,W] with each of K labels; maps of NaN are left out."""
    return torch.stack([shares[labels == number].nanmean(0) for number in classes])
