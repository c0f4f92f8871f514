"""SmoothGrad: saliency over noisy copies of the face (Smilkov, Thorat, Kim, Viégas, Wattenberg 2017, arXiv:1706.03825).

A gradient changes sharply between faces that look the same; what stays of it over many noisy copies of a face is what
the network looks at. At a layer it is the same question asked of the layer's output, the noise still being in the
pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor, nn

from fervis.core.layers import INPUT, Layer, spatial
from fervis.core.results import HeatMaps
from fervis.core.targets import Target
from fervis.errors import ConfigError, nearest_name
from fervis.explainers.gradients import gradient_heat_maps
from fervis.models.hooks import gradients

COPIES_PER_CHUNK = 64  # noisy copies a pass, so that memory is bounded
STATISTIC_UNITS = {
    "mean": "|mean of {}|",
    "absolute": "mean of |{}|",
    "square": "mean of ({})²",
    "variance": "variance of {}",
}


def noisy_copies(image: Tensor, samples: int, noise: float, generator: Generator) -> Iterator[Tensor]:
    """Copies of a [C,H,W] image with Gaussian noise of ``noise`` times the image's range, some [n,C,H,W] at a time.

    Each copy's noise is drawn by itself, so that it does not depend on the chunks.
    """
    deviation = noise * (image.max() - image.min())
    for start in range(0, samples, COPIES_PER_CHUNK):
        count = min(COPIES_PER_CHUNK, samples - start)
        draws = torch.stack([torch.randn(image.shape, generator=generator) for _ in range(count)])
        yield image + deviation * draws.to(image)


@dataclass(frozen=True)
class Moments:
    """Mean and squared deviations of samples that come chunk by chunk (Chan, Golub and LeVeque 1983).

    Squares summed and a squared mean taken from them would leave nothing of a small variance in 32 bits.
    """

    count: int
    mean: Tensor
    deviations: Tensor

    def __add__(self, other: Moments) -> Moments:
        count, apart = self.count + other.count, other.mean - self.mean
        deviations = self.deviations + other.deviations + apart.square() * (self.count * other.count / count)
        return Moments(count, self.mean + apart * (other.count / count), deviations)


def moments(slopes: Tensor, statistic: str) -> Moments:
    """Those of [n,C,h,w] gradients, of their magnitudes (``absolute``) or of their squares (``square``)."""
    values = {"absolute": torch.abs, "square": torch.square}.get(statistic, torch.clone)(slopes)
    mean = values.mean(0)
    return Moments(len(values), mean, (values - mean).square().sum(0))


def smoothgrad(
    model: nn.Module, copies: Iterator[Tensor], target: Target, layer: Layer | None, statistic: str = "mean"
) -> tuple[Tensor, Tensor]:
    """What stays of the gradient over noisy copies of one image: the largest over the channels.

    Args:
        model: network from images to [N,K] logits.
        copies: chunks [n,C,H,W] of the copies.
        target: the score that is differentiated, of this image alone.
        layer: where the map is taken; None for the pixels.
        statistic: ``mean``, ``absolute``, ``square`` or ``variance``, as in ``SmoothGrad``.

    Returns:
        The [h,w] map at the layer, of its own size, and the [H,W] map of the pixels (the same tensor where ``layer``
        is None).
    """
    names = [INPUT] if layer is None else [INPUT, layer.path]
    found: dict[str, Moments] = {}
    for some in copies:
        aim = target if target.classes is None else Target(target.classes.expand(len(some)))
        slopes = gradients(model, some, aim, names).gradients
        slopes |= {} if layer is None else {layer.path: spatial(slopes[layer.path], layer)}
        here = {name: moments(slopes[name], statistic) for name in names}
        found = {name: found[name] + here[name] for name in names} if found else here
    maps = [
        (one.deviations / one.count if statistic == "variance" else one.mean.abs()).amax(0) for one in found.values()
    ]
    return maps[-1], maps[0]


@dataclass
class SmoothGrad:
    """The knobs of ``smoothgrad``.

    Attributes:
        samples: noisy copies a face.
        noise: standard deviation of the noise, as a part of the face's range from its darkest to its brightest pixel;
            the paper finds 0.1 to 0.2 best. At 0 the map is saliency's.
        statistic: of the copies' gradients: ``mean``, the paper's, whose magnitude is the map; ``absolute``, the mean
            magnitude; ``square``, the mean square (Hooker et al. 2019, arXiv:1806.10758); or ``variance``, VarGrad
            (Adebayo et al. 2018, arXiv:1810.03292).
    """

    samples: int = 50
    noise: float = 0.15
    statistic: str = "mean"
    kind: ClassVar[str] = HeatMaps.kind
    default_layer: ClassVar[str] = INPUT

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise ConfigError(f"explainer.samples={self.samples}: expected a whole number from 1.")
        if not 0 <= self.noise < float("inf"):
            raise ConfigError(f"explainer.noise={self.noise}: expected a part of the face's range such as 0.15.")
        if self.statistic not in STATISTIC_UNITS:
            *first, last = STATISTIC_UNITS
            words = f"explainer.statistic={self.statistic}: expected {', '.join(first)} or {last}."
            raise ConfigError(words + nearest_name(self.statistic, STATISTIC_UNITS))
        if self.statistic == "variance" and (self.samples < 2 or self.noise == 0):
            raise ConfigError("explainer.statistic=variance: expected 2 or more samples and a noise above 0.")

    def explain(
        self, model: nn.Module, images: Tensor, target: Target, layer: Layer | None, generator: Generator
    ) -> HeatMaps:
        """Explain [N,C,H,W] images one after the other, each with the same draws of noise."""
        state = generator.get_state()
        found = []
        for place, image in enumerate(images.detach()):
            copies = noisy_copies(image, self.samples, self.noise, generator.set_state(state))
            found.append(smoothgrad(model, copies, target[place : place + 1], layer, self.statistic))
        maps, pixels = (torch.stack(one) for one in zip(*found, strict=True))
        return gradient_heat_maps(maps, pixels, layer, STATISTIC_UNITS[self.statistic])
