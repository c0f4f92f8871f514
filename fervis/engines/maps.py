"""Arithmetic of heat maps: plain functions on [N,H,W] tensors."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def to_size(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Bring [N,h,w] maps to ``size`` (height, width) by bilinear interpolation, pixel centres kept in place."""
    if maps.shape[-2:] == size:
        return maps
    return F.interpolate(maps[:, None], size, mode="bilinear", align_corners=False)[:, 0]
