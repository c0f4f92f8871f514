"""Overlap of masks."""

from __future__ import annotations

from torch import Tensor


def overlaps(marked: Tensor, masks: Tensor) -> Tensor:
    """Return the intersection over union [...,M,K] of each of M marked areas with each of K masks; NaN of two empty.

    Args:
        marked: [...,M,H,W] bool.
        masks: [...,K,H,W] bool.
    """
    one, two = (area.flatten(-2).double() for area in (marked, masks))
    both = one @ two.transpose(-1, -2)
    return both / (one.sum(-1)[..., :, None] + two.sum(-1)[..., None, :] - both)
