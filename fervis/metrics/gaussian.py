"""Gaussian smoothing, in one place: torchvision's ``gaussian_blur`` would pull in torchvision for these few lines."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def gaussian_blur(images: Tensor, sigma: float, *, reach: int | None = None, mirror: bool = True) -> Tensor:
    """Smooth images by a separable Gaussian.

    Written here since torchvision is no dependency: its wheels must match torch's build (CPU or a CUDA version), its
    kernel is computed in float32, and it cannot leave out the border, which structural similarity requires.

    Args:
        images: [N,C,H,W] float.
        sigma: standard deviation in pixels.
        reach: pixels from the kernel's centre to its end; by default three standard deviations, or the image's size
            where that is smaller.
        mirror: continue the images by their mirror image, so that their size stays; otherwise only positions are
            returned at which the kernel is inside the image, [N,C,H-2*reach,W-2*reach].
    """
    for axis in (2, 3):
        half = min(max(1, round(3 * sigma)), images.shape[axis] - 1) if reach is None else reach
        kernel = torch.exp(-(torch.arange(-half, half + 1, dtype=torch.float64) ** 2) / (2 * sigma**2))
        kernel = (kernel / kernel.sum()).to(images)
        if mirror:
            images = F.pad(images, (0, 0, half, half) if axis == 2 else (half, half, 0, 0), mode="reflect")
        planes = images.flatten(0, 1)[:, None]
        smooth = F.conv2d(planes, kernel.view(1, 1, -1, 1) if axis == 2 else kernel.view(1, 1, 1, -1))
        images = smooth.view(*images.shape[:2], *smooth.shape[2:])
    return images
