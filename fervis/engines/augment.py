"""Random changes of a whole batch of faces at once, on its device, drawn from an explicit generator."""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional as F


def draw(count: int, low: float, high: float, generator: Generator) -> Tensor:
    """[count] float32, uniform between ``low`` and ``high``; the generator lives on the CPU on every device."""
    return torch.rand(count, generator=generator) * (high - low) + low


def affine(images: Tensor, generator: Generator, *, flip: bool, rotation: float, scale: float, shift: float) -> Tensor:
    """Flip, turn, scale and shift each image by amounts of its own, in one resampling of the batch.

    Args:
        images: [N,C,H,W] float; beyond the border the edge pixel goes on.
        generator: on the CPU.
        flip: mirror left and right with probability one half.
        rotation: largest angle, degrees, either way.
        scale: largest relative change of size, either way: 0.1 gives factors of 0.9 to 1.1.
        shift: largest shift as a part of the side, either way.

    Returns:
        [N,C,H,W] of the images' dtype.
    """
    count = len(images)
    angle = draw(count, -rotation, rotation, generator) * math.pi / 180
    factor = draw(count, 1 - scale, 1 + scale, generator)
    mirror = torch.where(draw(count, 0, 1, generator) < 0.5, -1.0, 1.0) if flip else torch.ones(count)
    # grid_sample's coordinates run from -1 to 1, so a shift by the whole side is 2.
    right, down = (draw(count, -2 * shift, 2 * shift, generator) for _ in range(2))
    matrix = torch.stack(
        [
            torch.stack([mirror * angle.cos() / factor, -angle.sin() / factor, right], 1),
            torch.stack([mirror * angle.sin() / factor, angle.cos() / factor, down], 1),
        ],
        1,
    ).to(images)
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
