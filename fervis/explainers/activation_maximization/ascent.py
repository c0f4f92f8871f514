"""Gradient ascent: images that are changed, step by step, to raise an objective (Erhan et al. 2009; Olah et al. 2017).

All filters of a layer are maximized as one batch at the network's own size: the sum of all objectives is differentiated
once, which gives each image its own gradient. Randomness is drawn so that an image does not depend on the others of its
batch: each start from its own generator, the transformations once per step for all images.
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
    """Settings of gradient ascent; 0 switches a regularizer or a transformation off.

    Attributes:
        steps: number of steps of Adam, whose learning rate falls to 0 as a half cosine.
        lr: learning rate at the first step, in the unit of the parameters.
        l2: weight of the mean squared distance from the anchor (mid-grey, or the face that it starts from).
        total_variation: weight of the mean absolute difference of neighbouring pixels, down and across.
        blur: standard deviation, in pixels, of the Gaussian that smooths every image: no detail is finer.
        jitter: largest shift of the image in pixels, up and down and to either side.
        scale: largest change of its size: 0.1 for factors of 0.9 to 1.1.
        rotation: largest rotation in degrees, to either side.
        bf16: compute the passes in bfloat16.

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
    parameterization: Parameterization,
    start: Tensor,
    config: AscentConfig,
    generator: Generator,
    *,
    unit: Tensor,
    anchor: Tensor | None = None,
    on_step: Callable[[], object] = lambda: None,
) -> tuple[Tensor, Tensor]:
    """Maximize objectives from the parameters ``start`` and return the last images.

    Args:
        values: the objective of each image.
        parameterization: maps parameters to images.
        start: [N,...] parameters, not changed.
        config: settings of the ascent.
        generator: on the CPU; draws the transformations, the same for all images of a step.
        unit: [N] one standard deviation of each objective.
        anchor: [C,H,W] what ``l2`` pulls the images to; by default mid-grey.
        on_step: called after each step.

    Returns:
        [N,C,H,W] images in [0, 1] of the parameters' dtype, and [N,steps] float32, the objective as the network saw it
        at each step: at the transformed image, before that step was made.
    """
    parameters = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([parameters], lr=config.lr, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.steps)
    unit, trace = unit.to(start.device), []
    for _ in range(config.steps):
        images = _images_of(parameterization, parameters, config)
        seen = transform_views(images, config, generator)
        with torch.autocast(start.device.type, torch.bfloat16, enabled=config.bf16):
            reached = values(seen)
        # A filter that is dead at noise has no unit; any would do.
        reached = reached.to(start.dtype)
        gain = reached / torch.where(unit > 0, unit, 1).to(start.dtype) - penalties(images, config, anchor)
        (gradient,) = torch.autograd.grad(-gain.sum(), parameters)
        parameters.grad = gradient
        optimizer.step()
        schedule.step()
        trace.append(reached.detach().float().cpu())
        on_step()
    with torch.no_grad():
        return _images_of(parameterization, parameters, config).detach().clone(), torch.stack(trace, 1)


def _images_of(parameterization: Parameterization, parameters: Tensor, config: AscentConfig) -> Tensor:
    """Return [N,C,H,W] the images of the parameters, smoothed by ``blur``."""
    images = parameterization.images(parameters)
    return gaussian_blur(images, config.blur) if config.blur else images


def penalties(images: Tensor, config: AscentConfig, anchor: Tensor | None = None) -> Tensor:
    """Return [N] the regularizers of each image, in standard deviations of the objective."""
    cost = images.new_zeros(len(images))
    if config.l2:
        cost = cost + config.l2 * (images - (MID_GREY if anchor is None else anchor)).square().mean((1, 2, 3))
    if config.total_variation:
        down, across = images.diff(dim=2).abs().mean((1, 2, 3)), images.diff(dim=3).abs().mean((1, 2, 3))
        cost = cost + config.total_variation * (down + across)
    return cost


def transform_views(images: Tensor, config: AscentConfig, generator: Generator) -> Tensor:
    """Shift, scale and rotate all images alike by random amounts, mirrored at the edges.

    A shift alone is by whole pixels and changes no value; else all three are one bilinear interpolation. torchvision's
    ``RandomAffine`` draws from torch's global generator and fills the edges with a constant.
    """
    shift = torch.randint(-config.jitter, config.jitter + 1, (2,), generator=generator)
    draws = 2 * torch.rand(2, generator=generator, dtype=torch.float64) - 1
    height, width = images.shape[-2:]
    if not config.scale and not config.rotation:
        if not config.jitter:
            return images
        down, right = (int(pixels) for pixels in shift)
        margins = (max(right, 0), max(-right, 0), max(down, 0), max(-down, 0))
        padded = F.pad(images, margins, mode="reflect")
        return padded[..., margins[3] : margins[3] + height, margins[1] : margins[1] + width]
    zoom, angle = 1 + config.scale * float(draws[0]), math.radians(config.rotation * float(draws[1]))
    # The source of each pixel, in pixels about the centre, then in the units of grid_sample (half a side is 1).
    cos, sin = math.cos(angle) / zoom, math.sin(angle) / zoom
    down, right = shift.tolist()
    rows = [[cos, -sin * height / width, -2 * right / width], [sin * width / height, cos, -2 * down / height]]
    matrix = torch.tensor([rows], dtype=torch.float64).to(images)
    grid = F.affine_grid(matrix, [1, 1, height, width], align_corners=False)
    # One grid for all: as channels of one image, their interpolation weights are computed once.
    planes = images.reshape(1, -1, height, width)
    return F.grid_sample(planes, grid, padding_mode="reflection", align_corners=False).view_as(images)


def measure_objective(values: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Return [N] float32 on the CPU, the objective at the images themselves, untransformed, in their own precision."""
    with torch.no_grad():
        return values(images).float().cpu()


def mean_frequency(images: Tensor) -> Tensor:
    """Return [N] mean spatial frequency of [N,C,H,W] images in cycles per pixel, weighted by power; NaN if constant.

    Over all waves of the discrete Fourier transform but the mean: up to 0.71 for a chequerboard (half a cycle per pixel
    each way); white noise has 0.38, the mean radius of a square of side 1 about its centre.
    """
    height, width = images.shape[-2:]
    power = torch.fft.rfft2(images.double() - images.double().mean((2, 3), keepdim=True)).abs().square()
    # The half spectrum omits the mirror images of all waves but those of its first and, for even widths, last column.
    weights = torch.full((width // 2 + 1,), 2.0, dtype=torch.float64, device=images.device)
    weights[0] = 1
    if width % 2 == 0:
        weights[-1] = 1
    power = (power * weights).sum(1)
    radius = frequencies(height, width).to(power)
    total = power.sum((1, 2))
    total = torch.where(total > 1e-12, total, torch.nan)
    return ((power * radius).sum((1, 2)) / total).float()


def image_strength(images: Tensor) -> Tensor:
    """Return [N] standard deviation of the pixels of [N,C,H,W] images: 0 if constant, 0.5 if half black, half white."""
    return images.flatten(1).std(1, correction=0)


def noise_images(count: int, shape: Iterable[int], mean: float, sd: float, generator: Generator) -> Tensor:
    """Draw [count,C,H,W] float32 white noise of this mean and standard deviation on the CPU, clamped to [0, 1]."""
    return (mean + sd * torch.randn(count, *shape, generator=generator)).clamp(0, 1)
