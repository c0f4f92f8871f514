"""Thresholds that split values into two groups."""

from __future__ import annotations

import torch
from torch import Tensor


def otsu_thresholds(values: Tensor) -> Tensor:
    """Return the threshold of each row [M,P] by Otsu (1979, IEEE TSMC 9(1)): values above it are the higher group.

    It is the value after which a split makes the variance between the groups largest, ``w0 w1 (m0 - m1)^2``, the lowest
    of several. Every value is a candidate, where a histogram of 256 bins (scikit-image) depends on the range. Of equal
    values it is that value, and none is above it.
    """
    ordered = values.double().sort(1).values
    count = ordered.shape[1]
    below = torch.arange(1, count, dtype=torch.float64, device=values.device)
    sums = ordered.cumsum(1)
    low, high = sums[:, :-1] / below, (sums[:, -1:] - sums[:, :-1]) / (count - below)
    between = below * (count - below) * (high - low).square()
    between = between.where(ordered[:, 1:] > ordered[:, :-1], -1.0)  # equal values stay together
    best = between.argmax(1, keepdim=True)
    constant = ordered[:, :1] == ordered[:, -1:]
    return torch.where(constant, ordered[:, -1:], ordered.gather(1, best))[:, 0]
