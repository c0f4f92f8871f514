"""Edges of images, without any network: what a map must show more than."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

SOBEL = ((-1.0, 0.0, 1.0), (-2.0, 0.0, 2.0), (-1.0, 0.0, 1.0))


def sobel_magnitude(images: Tensor) -> Tensor:
    """Return the magnitude [N,H,W] of the Sobel gradient of the mean channel of [N,C,H,W] images.

    Borders are continued by their own values, so that the border of an image is no edge.
    """
    kernel = torch.tensor(SOBEL, device=images.device)
    grey = F.pad(images.float().mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    slopes = F.conv2d(grey, torch.stack([kernel, kernel.T])[:, None])
    return slopes.square().sum(1).sqrt()
