"""Faces that results show as examples: their pictures, and rows of a table that is as wide for every entry."""

from __future__ import annotations

import torch
from torch import Tensor


def filled(values: Tensor, count: int, fill: float) -> Tensor:
    """Return [count,...] the first of the values, with ``fill`` behind them where there are fewer."""
    missing = values.new_full((max(0, count - len(values)), *values.shape[1:]), fill)
    return torch.cat([values[:count], missing])


def byte_pictures(images: Tensor) -> Tensor:
    """Return images as uint8; floats are in [0, 1]."""
    return (images.clamp(0, 1) * 255).round().to(torch.uint8) if images.is_floating_point() else images
