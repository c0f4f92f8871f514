"""What every method that climbs images shares: its knobs, its starts and its results."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor

from fervis.core.results import FilterImages
from fervis.errors import ConfigError, unknown_name
from fervis.explainers.activation_maximization import ascent
from fervis.explainers.activation_maximization.ascent import AscentConfig
from fervis.explainers.activation_maximization.baselines import Baselines, mean_spectrum
from fervis.explainers.activation_maximization.objectives import Values
from fervis.explainers.activation_maximization.parameterizations import PARAMETERIZATIONS, build_parameterization
from fervis.models.batch import Batch
from fervis.system.device import computes_bf16
from fervis.system.progress import progress

SETTING_LIMITS = {
    "steps": (1, 100_000),
    "l2": (0, 1e6),
    "total_variation": (0, 1e6),
    "blur": (0, 20),
    "jitter": (0, 64),
}
SETTING_LIMITS |= {"scale": (0, 0.9), "rotation": (0, 180), "batch_size": (1, 100_000)}


@dataclass
class MaximizationSettings:
    """The knobs of a climb; 0 switches a rule off.

    Attributes:
        steps: of Adam.
        lr: Adam's first step; None for what suits the parameterisation.
        parameterisation: ``fourier``, ``maco`` or ``pixels``.
        start: ``noise``, or ``face`` for the first of the chosen faces (Hamblin et al. 2024, arXiv:2402.10039).
        l2: weight of the mean squared distance from mid-grey, or from the face it started at.
        total_variation: weight of the mean absolute difference of neighbouring pixels.
        blur: standard deviation in pixels of the Gaussian that the image is smoothed with.
        jitter: how many pixels the network's view may shift.
        scale: by how much it may grow or shrink.
        rotation: by how many degrees it may turn.
        batch_size: images that climb at once; their number changes nothing but rounding.
        precision: of the climb's passes: ``fp32``, ``bf16``, or ``auto`` for bf16 where the processor has it. What was
            reached is always measured in fp32.
    """

    steps: int = 128
    lr: float | None = None
    parameterisation: str = "fourier"
    start: str = "noise"
    l2: float = 0.0
    total_variation: float = 20.0
    blur: float = 0.0
    jitter: int = 4
    scale: float = 0.1
    rotation: float = 10.0
    batch_size: int = 64
    precision: str = "auto"

    def __post_init__(self) -> None:
        for name, known in (
            ("parameterisation", PARAMETERIZATIONS),
            ("start", ("noise", "face")),
            ("precision", ("auto", "fp32", "bf16")),
        ):
            if getattr(self, name) not in known:
                raise unknown_name(f"explainer.{name}", getattr(self, name), known)
        for name, (low, high) in SETTING_LIMITS.items():
            if not low <= getattr(self, name) <= high:
                raise ConfigError(f"explainer.{name}={getattr(self, name)}: expected a number from {low} to {high}.")
        if self.lr is not None and not 0 < self.lr <= 100:
            raise ConfigError(f"explainer.lr={self.lr}: expected a number above 0 and at most 100, or null.")

    def rules(self, images: Tensor, lr: float) -> AscentConfig:
        """Return the settings of the ascent on the images' device.

        Raises:
            ConfigError: the view may shift by more than there is image.
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
    knobs: MaximizationSettings,
    batch: Batch,
    objective: Callable[[Sequence[int], torch.dtype | None], AbstractContextManager[Values]],
    members: Sequence[int],
    beside: Baselines,
    *,
    use: str,
    unit: str,
) -> FilterImages:
    """One image for each of N filters or classes.

    Args:
        knobs: of the climb.
        batch: whose images say the size, and whose first image is the face to start from.
        objective: gives the objectives of some of the members, image n's for member n, from a network that is quick in
            a precision, or from the network as it is.
        members: N filters or classes.
        beside: their M = N objectives at other images.
        use: where the members are from, such as ``filters/conv7``: the name of the randomness.
        unit: what the objective is, in words.
    """
    shape = (int(batch.images.shape[1]), int(batch.images.shape[2]), int(batch.images.shape[3]))
    spectrum = mean_spectrum(batch) if knobs.parameterisation == "maco" else None
    canvas = build_parameterization(knobs.parameterisation, shape, spectrum)
    rules = knobs.rules(batch.images, canvas.lr)
    face = batch.images[0].clamp(0, 1) if knobs.start == "face" else None
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    total = rules.steps * math.ceil(len(members) / knobs.batch_size)
    with progress(None, use, "step", total=total, quiet=batch.quiet) as bar:
        for first in range(0, len(members), knobs.batch_size):
            some = members[first : first + knobs.batch_size]
            start = torch.stack(
                [canvas.of(face) if face is not None else canvas.noise(batch.generator(f"{use}/{one}")) for one in some]
            ).to(batch.images)
            scale = beside.noise_sd[first : first + knobs.batch_size]
            with objective(some, torch.bfloat16 if rules.bf16 else start.dtype) as values:
                images, trace = ascent.maximize(
                    values,
                    canvas,
                    start,
                    rules,
                    batch.generator("climb/transformations"),
                    unit=scale,
                    tie=face,
                    tick=bar.update,
                )
            with objective(some, None) as values:
                parts.append((images.float().cpu(), ascent.measure_objective(values, images), trace))
    images, reached, trace = (torch.cat(part) for part in zip(*parts, strict=True))
    return FilterImages(
        images=images,
        reached=reached,
        noise=beside.noise,
        strongest=beside.strongest,
        strongest_rows=beside.rows,
        trace=trace,
        numbers={"frequency": ascent.mean_frequency(images), "strength": ascent.image_strength(images)},
        unit=unit,
    )
