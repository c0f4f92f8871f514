"""Receptive field of a unit of a layer, and the part of it to which the unit is most sensitive.

The field is measured, not computed by formula, so that it holds for every network: rows and columns of the face are set
to NaN one by one, and the units that become NaN are those that see them, since every sum, product and maximum
propagates a NaN, whatever the weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from fervis.core.layers import Layer, spatial
from fervis.models.hooks import activations, capture, frozen

POSITIONS_PER_CHUNK = 32  # images per pass


def receptive_fields(model: nn.Module, image: Tensor, layer: Layer) -> Tensor:
    """Return the pixels that each unit of a layer can see, clipped to the face.

    A unit sees what an operation touches, even with a weight of zero; where it sees no pixel at all, because the
    network removes NaN, the field is the whole face.

    Args:
        model: any network from images; left as it was.
        image: [1,C,H,W] float, any face.
        layer: a layer whose output has h by w units.

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
    """Return the first row (or column) that each unit sees and the first beyond, [h,w] int64; 0 if it sees none."""
    count = image.shape[-2 if down else -1]
    affected = []
    for start in range(0, count, POSITIONS_PER_CHUNK):
        lines = range(start, min(start + POSITIONS_PER_CHUNK, count))
        images = image.detach().repeat(len(lines), 1, 1, 1)
        for position, line in enumerate(lines):
            images[position].select(-2 if down else -1, line).fill_(torch.nan)
        maps = spatial(activations(model, images, [layer.path])[layer.path], layer)
        affected.append(maps.isnan().any(1).cpu())
    seen = torch.cat(affected)
    number = torch.arange(count)[:, None, None]
    first, beyond = number.where(seen, count).amin(0), (number + 1).where(seen, 0).amax(0)
    return first.where(beyond > 0, 0), beyond


@contextmanager
def _box_sums() -> Iterator[None]:
    """Convolve by plain sums: fast algorithms (Winograd, Fourier) spread a NaN to units that do not see it."""
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


def sensitivity(model: nn.Module, images: Tensor, layer: Layer, filters: Tensor, positions: Tensor) -> Tensor:
    """Return [N,H,W] the sensitivity of an output to each pixel: |d output / d pixel|, summed over the channels.

    Args:
        model: any network from images; left as it was.
        images: [N,C,H,W] float.
        layer: the output's layer.
        filters: [N] int64, the output's filter in each image.
        positions: [N,2] int64, its row and column on the layer's own grid.
    """
    with frozen(model), capture(model, [layer.path], roots=False) as captured:
        source = images.detach().clone().requires_grad_()
        model(source.clone())
        maps = spatial(captured[layer.path], layer)
        scores = maps[torch.arange(len(maps)), filters, positions[:, 0], positions[:, 1]]
        (gradients,) = torch.autograd.grad(scores.sum(), source)
    return gradients.abs().sum(1)


def sensitivity_boxes(sensitivities: Tensor, fields: Tensor) -> Tensor:
    """Return the middle half, down and across, of each output's sensitivity as a box within its field.

    At most a quarter of the sensitivity lies above the box, below it, to its left and to its right: the effective
    receptive field, which is much smaller than what the output can see (Luo et al. 2016, arXiv:1701.04128).

    Args:
        sensitivities: [N,H,W], not negative.
        fields: [N,4] int64, returned where a sensitivity is 0 everywhere.

    Returns:
        [N,4] int64 on the CPU: top, left, and the first row and column beyond.
    """
    weights = sensitivities.double().cpu()
    (top, bottom), (left, right) = (_middle_half(weights.sum(across)) for across in (2, 1))
    boxes = torch.stack([top, left, bottom, right], -1)
    return boxes.where((weights.sum((1, 2)) > 0)[:, None], fields)


def _middle_half(weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return where the cumulative sum of [N,L] weights exceeds a quarter, and the position after it reaches 3/4."""
    cumulative = weights.cumsum(1)
    total = cumulative[:, -1:]
    return (cumulative <= 0.25 * total).sum(1), (cumulative < 0.75 * total).sum(1) + 1
