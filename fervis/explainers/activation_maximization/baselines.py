"""Baselines of maximized images: the objectives at noise and at the real faces of the pool."""

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
    """Values of M objectives at images that were not maximized.

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

    def take(self, members: Sequence[int]) -> Baselines:
        """Return the baselines of the objectives at these positions."""
        index = list(members)
        return Baselines(**{name: values[index] for name, values in vars(self).items()})


def compute_baselines(batch: Batch, objectives: Callable[[Tensor], list[Tensor]]) -> list[Baselines]:
    """Compute objectives at noise with the faces' mean and standard deviation, and at every face, in one pass.

    Args:
        batch: the pool.
        objectives: [n,C,H,W] images -> for each layer the [n,M] objectives.
    """
    mean, sd = brightness(batch)
    noise = ascent.noise_images(NOISE_IMAGES, batch.images.shape[1:], mean, sd, batch.generator("climb/noise"))
    at_noise = [values.float().cpu() for values in objectives(noise.to(batch.images))]
    best: list[tuple[Tensor, Tensor, Tensor]] = []
    for positions, images in batch.batches():
        for number, scores in enumerate(objectives(images)):
            values, index = scores.float().cpu().max(0)
            new = (values, batch.rows[positions].cpu()[index], scores.double().sum(0).cpu())
            best[number : number + 1] = [_maximum_so_far(best[number], new) if number < len(best) else new]
    return [
        Baselines(noise.mean(0), noise.std(0), (total / len(batch.pool)).float(), values, rows)
        for noise, (values, rows, total) in zip(at_noise, best, strict=True)
    ]


def _maximum_so_far(
    best: tuple[Tensor, Tensor, Tensor], new: tuple[Tensor, Tensor, Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    better = new[0] > best[0]
    return torch.where(better, new[0], best[0]), torch.where(better, new[1], best[1]), best[2] + new[2]


def brightness(batch: Batch) -> tuple[float, float]:
    """Return mean and standard deviation of all pixels of the pool, in [0, 1]."""
    total, squares = 0.0, 0.0
    for _, images in batch.batches():
        pixels = images.double()
        total, squares = total + float(pixels.sum()), squares + float(pixels.square().sum())
    mean = total / batch.pool.numel()
    return mean, math.sqrt(max(0.0, squares / batch.pool.numel() - mean**2))


def mean_spectrum(batch: Batch) -> Tensor:
    """Return [C,H,W//2+1] float32 the faces' mean |rfft2| in decorrelated colours; at frequency 0 their signed mean."""
    total: Any = 0
    for _, images in batch.batches():
        spectra = torch.fft.rfft2(decorrelated(images.double()))
        magnitudes = spectra.abs()
        magnitudes[..., 0, 0] = spectra[..., 0, 0].real
        total = total + magnitudes.sum(0)
    return (total / len(batch.pool)).float().cpu()
