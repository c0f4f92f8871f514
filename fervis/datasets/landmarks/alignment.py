"""Align maps of faces by their landmarks, so that the same part of each face lies at the same place."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def fit_similarity(points: Tensor, frame: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rotation with scale and the shift that move points nearest to a frame, by least squares.

    As complex numbers, a point p moves to a·p + b. With both sets centred, the sum of |a·p - q|² is least where
    a = Σ conj(p)·q / Σ |p|² (Umeyama 1991, without reflections).

    Args:
        points: [N,L,2] x and y of each face.
        frame: [L,2] of the frame.

    Returns:
        a [N] and b [N], complex128.
    """
    moved, fixed = (torch.view_as_complex(some.double().contiguous()) for some in (points, frame))
    centre, goal = moved.mean(1, keepdim=True), fixed.mean()
    away = moved - centre
    scale = (away.conj() * (fixed - goal)).sum(1) / away.abs().square().sum(1)
    return scale, goal - scale * centre[:, 0]


def warp_to_frame(maps: Tensor, points: Tensor, frame: Tensor) -> Tensor:
    """Return maps [N,H,W] moved so that the landmarks of each lie nearest to the frame's; 0 from outside the image.

    Args:
        maps: [N,H,W].
        points: [N,L,2] landmarks of each face in pixels, a pixel's middle at .5.
        frame: [L,2] in pixels of an image of the same size.
    """
    scale, shift = fit_similarity(points, frame)
    height, width = maps.shape[1:]
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    target = torch.complex(x.double(), y.double())
    source = (target - shift[:, None, None]) / scale[:, None, None]
    grid = torch.stack([2 * source.real / width - 1, 2 * source.imag / height - 1], -1)
    return F.grid_sample(maps[:, None].double(), grid, align_corners=False)[:, 0].to(maps.dtype)
