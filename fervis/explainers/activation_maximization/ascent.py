"""Gradient ascent: images that are changed, step by step, to raise an objective (Erhan et al. 2009; Olah et al. 2017).

A whole layer of filters climbs as one batch at the network's own size: the sum of all objectives is differentiated
once, which gives each image its own gradient. What is random is drawn so that an image does not depend on its
company: the start of each from a generator of its own, the transformations once a step for all images alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from fervis.explainers.activation_maximization.objectives import Values
from fervis.explainers.activation_maximization.parameterizations import Parameterization, frequencies
from fervis.metrics.gaussian import gaussian_blur

MID_GREY = 0.5


@dataclass(frozen=True)
class AscentConfig:
    """How images climb; 0 switches a rule off.

    Attributes:
        steps: of Adam, whose step falls to 0 as a half cosine.
        lr: Adam's first step, in the unit of the canvas's parameters.
        l2: weight of the mean squared distance from what the climb is tied to (mid-grey, or the face it starts from).
        total_variation: weight of the mean absolute difference of neighbouring pixels, down and across.
        blur: standard deviation, in pixels, of the Gaussian that every image is smoothed with: no detail is finer.
        jitter: how far the network's view may shift, in pixels up and down and to either side.
        scale: how far it may grow or shrink: 0.1 for factors of 0.9 to 1.1.
        rotation: how far it may turn, in degrees to either side.
        bf16: compute the passes of the climb in bfloat16.

    Weights are in standard deviations of the objective over noise images, so that one weight suits all layers.
    """

    steps: int = 128
    lr: float = 0.05
    l2: float = 0.0
    total_variation: float = 0.0
    blur: float = 0.0
    jitter: int = 0
    scale: float = 0.0
    rotation: float = 0.0
    bf16: bool = False


def maximize(
    values: Values,
    canvas: Parameterization,
    start: Tensor,
    rules: AscentConfig,
    generator: Generator,
    *,
    unit: Tensor,
    tie: Tensor | None = None,
    tick: Callable[[], object] = lambda: None,
) -> tuple[Tensor, Tensor]:
    """Climb from the parameters ``start`` and give the last images.

    Args:
        values: the objective of each image.
        canvas: parameters as images.
        start: [N,...] parameters, not changed.
        rules: of the climb.
        generator: on the CPU; of the transformations, the same for all images of a step.
        unit: [N] what one standard deviation of each objective is.
        tie: [C,H,W] where ``l2`` pulls the images to; mid-grey where there is none.
        tick: called after each step.

    Returns:
        [N,C,H,W] images in [0, 1] of the parameters' dtype, and [N,steps] float32, the objective as the network saw it
        at each step: at the transformed image, before that step was made.
    """
    parameters = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([parameters], lr=rules.lr, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, rules.steps)
    unit, trace = unit.to(start.device), []
    for _ in range(rules.steps):
        images = from_canvas(canvas, parameters, rules)
        seen = jitter_view(images, rules, generator)
        with torch.autocast(start.device.type, torch.bfloat16, enabled=rules.bf16):
            reached = values(seen)
        # A filter that is dead at noise has no unit; any would do.
        reached = reached.to(start.dtype)
        gain = reached / torch.where(unit > 0, unit, 1).to(start.dtype) - penalties(images, rules, tie)
        (slope,) = torch.autograd.grad(-gain.sum(), parameters)
        parameters.grad = slope
        optimizer.step()
        schedule.step()
        trace.append(reached.detach().float().cpu())
        tick()
    with torch.no_grad():
        return from_canvas(canvas, parameters, rules).detach().clone(), torch.stack(trace, 1)


def from_canvas(canvas: Parameterization, parameters: Tensor, rules: AscentConfig) -> Tensor:
    """[N,C,H,W] the images of the parameters, smoothed where there is a ``blur``."""
    images = canvas.images(parameters)
    return gaussian_blur(images, rules.blur) if rules.blur else images


def penalties(images: Tensor, rules: AscentConfig, tie: Tensor | None = None) -> Tensor:
    """[N] what the rules take from the objective, in its standard deviations."""
    cost = images.new_zeros(len(images))
    if rules.l2:
        cost = cost + rules.l2 * (images - (MID_GREY if tie is None else tie)).square().mean((1, 2, 3))
    if rules.total_variation:
        down, across = images.diff(dim=2).abs().mean((1, 2, 3)), images.diff(dim=3).abs().mean((1, 2, 3))
        cost = cost + rules.total_variation * (down + across)
    return cost


def jitter_view(images: Tensor, rules: AscentConfig, generator: Generator) -> Tensor:
    """Shift, scale and turn all images alike, mirrored at the edges, as the network sees them in one step.

    A shift alone is one of whole pixels and changes no value; else all three are one bilinear interpolation.
    """
    shift = torch.randint(-rules.jitter, rules.jitter + 1, (2,), generator=generator)
    draws = 2 * torch.rand(2, generator=generator, dtype=torch.float64) - 1
    height, width = images.shape[-2:]
    if not rules.scale and not rules.rotation:
        if not rules.jitter:
            return images
        down, right = (int(by) for by in shift)
        margins = (max(right, 0), max(-right, 0), max(down, 0), max(-down, 0))
        wide = F.pad(images, margins, mode="reflect")
        return wide[..., margins[3] : margins[3] + height, margins[1] : margins[1] + width]
    zoom, turn = 1 + rules.scale * float(draws[0]), math.radians(rules.rotation * float(draws[1]))
    # From where each pixel is taken, in pixels about the centre, then in the units of grid_sample (half a side is 1).
    cos, sin = math.cos(turn) / zoom, math.sin(turn) / zoom
    down, right = shift.tolist()
    rows = [[cos, -sin * height / width, -2 * right / width], [sin * width / height, cos, -2 * down / height]]
    matrix = torch.tensor([rows], dtype=torch.float64).to(images)
    grid = F.affine_grid(matrix, [1, 1, height, width], align_corners=False)
    # One grid for all: they go as the channels of one image, whose places are found once.
    planes = images.reshape(1, -1, height, width)
    return F.grid_sample(planes, grid, padding_mode="reflection", align_corners=False).view_as(images)


def measure_objective(values: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """[N] float32 on the CPU: the objective at the images themselves, untransformed, in their own precision."""
    with torch.no_grad():
        return values(images).float().cpu()


def mean_frequency(images: Tensor) -> Tensor:
    """[N] mean spatial frequency of [N,C,H,W] images in cycles per pixel, weighted by power; NaN of a constant.

    Of all waves of the discrete Fourier transform but the mean, at 0 (none) to 0.71 (a chequerboard); white noise has
    0.38.
    """
    height, width = images.shape[-2:]
    power = torch.fft.rfft2(images.double() - images.double().mean((2, 3), keepdim=True)).abs().square()
    # Waves that are not in the half spectrum mirror those that are.
    twice = torch.full((width // 2 + 1,), 2.0, dtype=torch.float64, device=images.device)
    twice[0] = 1
    if width % 2 == 0:
        twice[-1] = 1
    power = (power * twice).sum(1)
    radius = frequencies(height, width).to(power)
    total = power.sum((1, 2))
    total = torch.where(total > 1e-12, total, torch.nan)
    return ((power * radius).sum((1, 2)) / total).float()


def image_strength(images: Tensor) -> Tensor:
    """[N] standard deviation of the pixels of [N,C,H,W] images: 0 of a constant, 0.5 of half black and half white."""
    return images.flatten(1).std(1, correction=0)


def noise_images(count: int, shape: Iterable[int], mean: float, sd: float, generator: Generator) -> Tensor:
    """[count,C,H,W] float32 white noise of this mean and standard deviation, cut off at 0 and 1; drawn on the CPU."""
    return (mean + sd * torch.randn(count, *shape, generator=generator)).clamp(0, 1)
