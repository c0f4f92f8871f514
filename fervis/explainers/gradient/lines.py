"""Baselines, and gradients at points between them and the images, several images at once."""

from __future__ import annotations

import torch
from torch import Tensor

from fervis.core.knobs import Choice, Range
from fervis.core.layers import INPUT
from fervis.explainers.gradient.passes import pixel_layer
from fervis.metrics.gaussian import gaussian_blur
from fervis.models.batch import Batch

BASELINE_CHOICES = Range(0, 1) | Choice("mean", "blur")
_BLUR = 0.1  # standard deviation of the blurred baseline, as part of the image's shorter side
_REFERENCES_AT_ONCE = 1000
POINTS_PER_PASS = 64  # points of all images in one pass, so that memory is bounded


def parts_of_passes(images: int, points: int) -> list[slice]:
    """Return parts of a batch, each of as many images as have all their points in one pass, at least one."""
    count = max(1, POINTS_PER_PASS // points)
    return [slice(start, min(start + count, images)) for start in range(0, images, count)]


def maps_at(batch: Batch, points: Tensor, differences: Tensor) -> Tensor:
    """Return differences · gradient, summed over channels, at S points of each image.

    Args:
        batch: N images with T targets.
        points: [N,S,C,H,W].
        differences: [N,S,C,H,W], or what broadcasts to it.

    Returns:
        [N,S,T,H,W].
    """
    there = batch.with_images(points.flatten(0, 1), batch.targets.repeat(points.shape[1]))
    passes = there.gradients(layers=(pixel_layer(batch),))
    maps = [(one.gradients[INPUT].view_as(points) * differences).sum(2) for one in passes]
    return torch.stack(maps, 2)


def baseline_images(batch: Batch, baseline: float | str) -> Tensor:
    """Return the baseline [N,C,H,W] of each image."""
    if baseline == "mean":
        return _mean_reference(batch).expand_as(batch.images)
    if baseline == "blur":
        return gaussian_blur(batch.images, _BLUR * min(batch.images.shape[2:]))
    return torch.full_like(batch.images, float(baseline))


def _mean_reference(batch: Batch) -> Tensor:
    count = batch.reference_count()
    sums = [batch.reference_images(some).double().sum(0) for some in torch.arange(count).split(_REFERENCES_AT_ONCE)]
    return (torch.stack(sums).sum(0) / count).to(batch.images)
