"""What climbed images are held against: noise, and the real faces of the pool."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fervis.explainers.activation_maximization import ascent
from fervis.explainers.activation_maximization.parameterizations import decorrelated
from fervis.models.batch import Batch

NOISE_IMAGES = 64  # images


@dataclass(frozen=True)
class Baselines:
    """What M objectives are at images that nobody has climbed.

    Attributes:
        noise: [M] float32, the mean over noise images.
        noise_sd: [M] float32, their standard deviation.
        average: [M] float32, the mean over the faces.
        strongest: [M] float32, the highest over the faces.
        rows: [M] int64, the row of that face, the first of equal ones.
    """

    noise: Tensor
    noise_sd: Tensor
    average: Tensor
    strongest: Tensor
    rows: Tensor


def compute_baselines(batch: Batch, answers: Callable[[Tensor], list[Tensor]]) -> list[Baselines]:
    """Compute objectives at noise with the faces' mean and standard deviation, and at every face, in one pass.

    Args:
        batch: the pool.
        answers: [n,C,H,W] images -> for each layer the [n,M] objectives.
    """
    mean, sd = brightness(batch)
    noise = ascent.noise_images(NOISE_IMAGES, batch.images.shape[1:], mean, sd, batch.generator("climb/noise"))
    at_noise = [found.float().cpu() for found in answers(noise.to(batch.images))]
    best: list[tuple[Tensor, Tensor, Tensor]] = []
    for where, images in batch.batches():
        for number, found in enumerate(answers(images)):
            values, places = found.float().cpu().max(0)
            one = (values, batch.rows[where].cpu()[places], found.double().sum(0).cpu())
            best[number : number + 1] = [_maximum_so_far(best[number], one) if number < len(best) else one]
    return [
        Baselines(noise.mean(0), noise.std(0), (total / len(batch.pool)).float(), values, rows)
        for noise, (values, rows, total) in zip(at_noise, best, strict=True)
    ]


def _maximum_so_far(
    kept: tuple[Tensor, Tensor, Tensor], new: tuple[Tensor, Tensor, Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    better = new[0] > kept[0]
    return torch.where(better, new[0], kept[0]), torch.where(better, new[1], kept[1]), kept[2] + new[2]


def selected_images(beside: Baselines, members: Sequence[int]) -> Baselines:
    """Those of some of the objectives."""
    index = list(members)
    return Baselines(**{name: values[index] for name, values in vars(beside).items()})


def brightness(batch: Batch) -> tuple[float, float]:
    """Mean and standard deviation of all pixels of the pool, in [0, 1]."""
    total, squares = 0.0, 0.0
    for _, images in batch.batches():
        pixels = images.double()
        total, squares = total + float(pixels.sum()), squares + float(pixels.square().sum())
    mean = total / batch.pool.numel()
    return mean, math.sqrt(max(0.0, squares / batch.pool.numel() - mean**2))


def mean_spectrum(batch: Batch) -> Tensor:
    """[C,H,W//2+1] float32: the faces' mean |rfft2| in decorrelated colours; at frequency 0 their signed mean."""
    total: Any = 0
    for _, images in batch.batches():
        spectra = torch.fft.rfft2(decorrelated(images.double()))
        sizes = spectra.abs()
        sizes[..., 0, 0] = spectra[..., 0, 0].real
        total = total + sizes.sum(0)
    return (total / len(batch.pool)).float().cpu()
