"""Explain several versions of each image together."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fervis.evidence.protocol import ExplainAgain

_IMAGES_AT_ONCE = 64  # explained by one call, so that few images with many versions fill a pass as well


def maps_of_versions(again: ExplainAgain, versions: Sequence[Tensor]) -> list[Tensor]:
    """Return the maps [N,T,H,W] of each version [N,C,H,W] of N images."""
    size = max(1, _IMAGES_AT_ONCE // max(1, len(versions[0])))
    maps: list[Tensor] = []
    for start in range(0, len(versions), size):
        some = versions[start : start + size]
        together = again(images=torch.stack(list(some), 1).flatten(0, 1))
        maps += together.unflatten(0, (-1, len(some))).unbind(1)
    return maps
