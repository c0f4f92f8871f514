"""What a unit of a layer sees of a face: its receptive field, and the part of it where it looks most.

The field is found by asking, not by formula, so that it holds for every network: rows and columns of the face are made
NaN one by one, and the units that become NaN are those that see them, since every sum, product and maximum hands a NaN
on, whatever the weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from fervis.core.layers import Layer, spatial
from fervis.models.hooks import activations, capture, frozen

POSITIONS_PER_CHUNK = 32  # images a pass


def receptive_fields(model: nn.Module, image: Tensor, layer: Layer) -> Tensor:
    """The pixels that each unit of a layer can see, clipped to the face.

    A unit sees what an operation touches, a zero weight included; where it sees no pixel at all, because the network
    hides NaN from it, the field is the whole face.

    Args:
        model: any network from images; left as it was.
        image: [1,C,H,W] float, any face.
        layer: whose output has h by w units.

    Returns:
        [h,w,4] int64 on the CPU: top, left, and the first row and column beyond, in pixels.
    """
    height, width = image.shape[-2:]
    with _box_sums():
        ends = [_module_reach(model, image, layer, down=True), _module_reach(model, image, layer, down=False)]
    (top, bottom), (left, right) = ends
    unseen = (bottom == 0) | (right == 0)
    whole = torch.tensor([0, 0, height, width])
    return torch.stack([top, left, bottom, right], -1).where(~unseen[..., None], whole)


def _module_reach(model: nn.Module, image: Tensor, layer: Layer, *, down: bool) -> tuple[Tensor, Tensor]:
    """First row (or column) that each unit sees, and the first beyond: [h,w] int64 each; 0 and 0 where it sees none."""
    count = image.shape[-2 if down else -1]
    touched = []
    for start in range(0, count, POSITIONS_PER_CHUNK):
        lines = range(start, min(start + POSITIONS_PER_CHUNK, count))
        broken = image.detach().repeat(len(lines), 1, 1, 1)
        for place, line in enumerate(lines):
            broken[place].select(-2 if down else -1, line).fill_(torch.nan)
        maps = spatial(activations(model, broken, [layer.path])[layer.path], layer)
        touched.append(maps.isnan().any(1).cpu())
    lit = torch.cat(touched)
    number = torch.arange(count)[:, None, None]
    first, last = number.where(lit, count).amin(0), (number + 1).where(lit, 0).amax(0)
    return first.where(last > 0, 0), last


@contextmanager
def _box_sums() -> Iterator[None]:
    """Convolve by plain sums: fast algorithms (Winograd's, Fourier's) mix a NaN into units that do not see it."""
    backends: tuple[Any, ...] = (torch.backends.mkldnn, torch.backends.cudnn)
    before = [backend.enabled for backend in backends]
    with torch.backends.nnpack.flags(enabled=False):
        try:
            for backend in backends:
                backend.enabled = False
            yield
        finally:
            for backend, enabled in zip(backends, before, strict=True):
                backend.enabled = enabled


def sensitivity(model: nn.Module, images: Tensor, layer: Layer, filters: Tensor, places: Tensor) -> Tensor:
    """[N,H,W] how much each pixel of an image counts for one output: |d output / d pixel|, summed over the channels.

    Args:
        model: any network from images; left as it was.
        images: [N,C,H,W] float.
        layer: where the output is.
        filters: [N] int64, the output's filter in each image.
        places: [N,2] int64, its row and column on the layer's own grid.
    """
    with frozen(model), capture(model, [layer.path], roots=False) as heard:
        source = images.detach().clone().requires_grad_()
        model(source.clone())
        maps = spatial(heard[layer.path], layer)
        scores = maps[torch.arange(len(maps)), filters, places[:, 0], places[:, 1]]
        (slopes,) = torch.autograd.grad(scores.sum(), source)
    return slopes.abs().sum(1)


def sensitivity_boxes(sensitivities: Tensor, fields: Tensor) -> Tensor:
    """The box within its field where each output looks most: the middle half of its sensitivity, down and across.

    At most a quarter of the sensitivity lies above the box, below it, to its left and to its right: the effective
    receptive field, which is much smaller than what the output can see (Luo et al. 2016, arXiv:1701.04128).

    Args:
        sensitivities: [N,H,W], none negative.
        fields: [N,4] int64, returned where a sensitivity is 0 everywhere.

    Returns:
        [N,4] int64 on the CPU: top, left, and the first row and column beyond.
    """
    weights = sensitivities.double().cpu()
    (top, bottom), (left, right) = (_middle_half(weights.sum(across)) for across in (2, 1))
    found = torch.stack([top, left, bottom, right], -1)
    return found.where((weights.sum((1, 2)) > 0)[:, None], fields)


def _middle_half(weights: Tensor) -> tuple[Tensor, Tensor]:
    """First of [N,L] places that brings the sum above a quarter, and the place after the one that brings it to 3/4."""
    share = weights.cumsum(1)
    total = share[:, -1:]
    return (share <= 0.25 * total).sum(1), (share < 0.75 * total).sum(1) + 1
