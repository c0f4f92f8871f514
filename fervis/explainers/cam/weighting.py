"""Maps of a layer from its activations and the gradients of one backward pass: what the CAMs of one gradient differ in.

Each function takes activations A [N,c,h,w] and gradients g [N,c,h,w] and returns maps [N,h,w], before any rectifier.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

MapOfPass = Callable[[Tensor, Tensor], Tensor]


def gradcam_map(activations: Tensor, gradients: Tensor) -> Tensor:
    """Weight each channel by the mean of its gradient over positions."""
    return torch.einsum("nc,nchw->nhw", gradients.mean((2, 3)), activations)


def gradcam_plusplus_map(activations: Tensor, gradients: Tensor) -> Tensor:
    """Weight each channel by Σ α relu(g), with α = g² / (2g² + g³ ΣA) and 0 where g is 0.

    Only g > 0 counts, where α relu(g) = g / (2 + g ΣA). The paper's A are rectified, so that ΣA is at least 0. Before a
    rectifier ΣA may be negative, and the weight of a gradient near 2 / |ΣA| would be without bound: a negative sum
    counts as 0.
    """
    positive = gradients.relu()
    totals = activations.sum((2, 3), keepdim=True).clamp(min=0)
    return torch.einsum("nc,nchw->nhw", (positive / (2 + positive * totals)).sum((2, 3)), activations)


def hirescam_map(activations: Tensor, gradients: Tensor) -> Tensor:
    """Sum gradient times activation over the channels."""
    return (gradients * activations).sum(1)


def layercam_map(activations: Tensor, gradients: Tensor) -> Tensor:
    """Sum positive gradient times activation over the channels."""
    return (gradients.relu() * activations).sum(1)


def xgradcam_map(activations: Tensor, gradients: Tensor) -> Tensor:
    """Weight each channel by Σ gA / ΣA, its gradient's mean weighted by its activation; by 0 where ΣA is 0."""
    totals = activations.sum((2, 3))
    weights = torch.where(totals == 0, 0, (gradients * activations).sum((2, 3)) / totals)
    return torch.einsum("nc,nchw->nhw", weights, activations)


MAPS_OF_PASS: dict[str, MapOfPass] = {
    "gradcam": gradcam_map,
    "gradcam_plusplus": gradcam_plusplus_map,
    "hirescam": hirescam_map,
    "layercam": layercam_map,
    "xgradcam": xgradcam_map,
}
