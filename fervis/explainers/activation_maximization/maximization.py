"""Settings, starting images and results shared by all methods of activation maximization."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from fervis.core.knobs import Choice, Range, Whole
from fervis.core.results import FilterImages
from fervis.errors import ConfigError
from fervis.explainers.activation_maximization import ascent
from fervis.explainers.activation_maximization.ascent import AscentConfig
from fervis.explainers.activation_maximization.baselines import Baselines, mean_spectrum
from fervis.explainers.activation_maximization.objectives import Values
from fervis.explainers.activation_maximization.parameterizations import PARAMETERIZATIONS, build_parameterization
from fervis.models.batch import Batch
from fervis.system.device import computes_bf16
from fervis.system.progress import progress


@dataclass
class MaximizationSettings:
    """Settings of a maximization; 0 switches a regularizer or a transformation off.

    Attributes:
        steps: number of steps of Adam.
        lr: learning rate of Adam at the first step; None for the default of the parameterisation.
        parameterisation: ``fourier``, ``maco`` or ``pixels``.
        start: ``noise``, or ``face`` for the first of the chosen faces (Hamblin et al. 2024, arXiv:2402.10039).
        l2: weight of the mean squared distance from mid-grey, or from the face that it starts from.
        total_variation: weight of the mean absolute difference of neighbouring pixels.
        blur: standard deviation in pixels of the Gaussian that smooths the image.
        jitter: largest random shift of the image in pixels.
        scale: largest random change of the image's size, 0.1 for factors of 0.9 to 1.1.
        rotation: largest random rotation in degrees.
        batch_size: number of images that are maximized at once; it changes nothing but rounding.
        precision: of the passes: ``fp32``, ``bf16``, or ``auto`` for bf16 where the processor computes it natively. The
            value reached is always measured in fp32.
    """

    steps: Annotated[int, Whole(1, 100_000)] = 128
    lr: Annotated[float | None, Range(0, 100, open_low=True)] = None
    parameterisation: Annotated[str, Choice(*PARAMETERIZATIONS)] = "fourier"
    start: Annotated[str, Choice("noise", "face")] = "noise"
    l2: Annotated[float, Range(0, 1_000_000)] = 0.0
    total_variation: Annotated[float, Range(0, 1_000_000)] = 20.0
    blur: Annotated[float, Range(0, 20)] = 0.0
    jitter: Annotated[int, Whole(0, 64)] = 4
    scale: Annotated[float, Range(0, 0.9)] = 0.1
    rotation: Annotated[float, Range(0, 180)] = 10.0
    batch_size: Annotated[int, Whole(1, 100_000)] = 64
    precision: Annotated[str, Choice("auto", "fp32", "bf16")] = "auto"

    def ascent_config(self, images: Tensor, lr: float) -> AscentConfig:
        """Return the settings of the ascent on the images' device.

        Args:
            images: [N,C,H,W] the images of the run.
            lr: learning rate where the settings state none.

        Raises:
            ConfigError: the image may be shifted by its whole side or more.
        """
        if self.jitter >= min(images.shape[2:]):
            side = min(images.shape[2:])
            raise ConfigError(f"explainer.jitter={self.jitter}: expected less than the images' {side} pixels.")
        fast = self.precision == "bf16" or (self.precision == "auto" and computes_bf16(images.device))
        return AscentConfig(
            steps=self.steps,
            lr=self.lr or lr,
            l2=self.l2,
            total_variation=self.total_variation,
            blur=self.blur,
            jitter=self.jitter,
            scale=self.scale,
            rotation=self.rotation,
            bf16=fast and images.dtype == torch.float32,
        )


def maximize_all(
    settings: MaximizationSettings,
    batch: Batch,
    objective: Callable[[Sequence[int], torch.dtype | None], AbstractContextManager[Values]],
    members: Sequence[int],
    baselines: Baselines,
    *,
    use: str,
    unit: str,
) -> FilterImages:
    """Maximize an image for each of N filters or classes.

    Args:
        settings: of the maximization.
        batch: its images give the size, and its first image is the face to start from.
        objective: members and a precision -> context of their objectives, image n for member n, from a network that is
            fused in this precision; with None from the network unchanged.
        members: N filters or classes.
        baselines: the N objectives at noise and at real faces.
        use: name of the randomness, such as ``filters/conv7``.
        unit: what the objective is, in words.
    """
    shape = (int(batch.images.shape[1]), int(batch.images.shape[2]), int(batch.images.shape[3]))
    spectrum = mean_spectrum(batch) if settings.parameterisation == "maco" else None
    parameterization = build_parameterization(settings.parameterisation, shape, spectrum)
    config = settings.ascent_config(batch.images, parameterization.lr)
    face = batch.images[0].clamp(0, 1) if settings.start == "face" else None

    def start_of(member: int) -> Tensor:
        if face is not None:
            return parameterization.from_image(face)
        return parameterization.noise(batch.generator(f"{use}/{member}"))

    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    total = config.steps * math.ceil(len(members) / settings.batch_size)
    with progress(None, use, "step", total=total, quiet=batch.quiet) as bar:
        for first in range(0, len(members), settings.batch_size):
            chunk = members[first : first + settings.batch_size]
            start = torch.stack([start_of(member) for member in chunk]).to(batch.images)
            with objective(chunk, torch.bfloat16 if config.bf16 else start.dtype) as values:
                images, trace = ascent.maximize(
                    values,
                    parameterization,
                    start,
                    config,
                    batch.generator("climb/transformations"),  # the name is part of the results of earlier releases
                    unit=baselines.noise_sd[first : first + settings.batch_size],
                    anchor=face,
                    on_step=bar.update,
                )
            with objective(chunk, None) as values:
                parts.append((images.float().cpu(), ascent.measure_objective(values, images), trace))
    images, reached, trace = (torch.cat(part) for part in zip(*parts, strict=True))
    return FilterImages(
        images=images,
        reached=reached,
        noise=baselines.noise,
        strongest=baselines.strongest,
        strongest_rows=baselines.rows,
        trace=trace,
        numbers={"frequency": ascent.mean_frequency(images), "strength": ascent.image_strength(images)},
        unit=unit,
    )
