"""SmoothGrad: saliency over noisy copies of the face (Smilkov, Thorat, Kim, Viégas, Wattenberg 2017, arXiv:1706.03825).

A gradient changes sharply between faces that look the same; its mean over many noisy copies of a face is more stable.
At a layer the gradient is that of the layer's output, with the noise still in the pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Generator, Tensor

from fervis.core.knobs import AtLeast, Choice, Whole
from fervis.core.layers import INPUT, Layer
from fervis.core.results import HeatMaps, LayerMaps
from fervis.errors import ConfigError
from fervis.explainers.gradient.passes import LAYERS_AND_PIXELS, with_pixels
from fervis.models.batch import Batch
from fervis.system.progress import progress

COPIES_PER_CHUNK = 64  # noisy copies per pass, so that memory is bounded
STATISTIC_UNITS = {
    "mean": "|mean of {}|",
    "absolute": "mean of |{}|",
    "square": "mean of ({})²",
    "variance": "variance of {}",
}


def noisy_copies(image: Tensor, samples: int, noise: float, generator: Generator) -> Iterator[Tensor]:
    """Yield copies [n,C,H,W] of an image [C,H,W] with Gaussian noise of ``noise`` times the image's range.

    Each copy's noise is drawn separately, so that it does not depend on the chunks.
    """
    deviation = noise * (image.max() - image.min())
    for start in range(0, samples, COPIES_PER_CHUNK):
        count = min(COPIES_PER_CHUNK, samples - start)
        draws = torch.stack([torch.randn(image.shape, generator=generator) for _ in range(count)])
        yield image + deviation * draws.to(image)


@dataclass(frozen=True)
class Moments:
    """Mean and sum of squared deviations of samples that arrive chunk by chunk (Chan, Golub and LeVeque 1983).

    The mean of squares less the squared mean would lose a small variance to rounding in 32 bits.
    """

    count: int
    mean: Tensor
    deviations: Tensor

    def __add__(self, other: Moments) -> Moments:
        count, difference = self.count + other.count, other.mean - self.mean
        deviations = self.deviations + other.deviations + difference.square() * (self.count * other.count / count)
        return Moments(count, self.mean + difference * (other.count / count), deviations)


def _moments(gradients: Tensor, statistic: str) -> Moments:
    """Return the moments of [n,C,h,w] gradients, of their magnitudes (``absolute``) or squares (``square``)."""
    values = {"absolute": torch.abs, "square": torch.square}.get(statistic, torch.clone)(gradients)
    mean = values.mean(0)
    return Moments(len(values), mean, (values - mean).square().sum(0))


@dataclass
class SmoothGrad:
    """Average gradients over noisy copies of each image.

    Attributes:
        samples: noisy copies per image.
        noise: standard deviation of the noise, as a part of the image's range from its darkest to its brightest pixel;
            the paper finds 0.1 to 0.2 best. At 0 the map is saliency's.
        statistic: of the copies' gradients: ``mean``, the paper's, whose magnitude is the map; ``absolute``, the mean
            magnitude; ``square``, the mean square (Hooker et al. 2019, arXiv:1806.10758); or ``variance``, VarGrad
            (Adebayo et al. 2018, arXiv:1810.03292).
    """

    samples: Annotated[int, Whole(1)] = 50
    noise: Annotated[float, AtLeast(0)] = 0.15
    statistic: Annotated[str, Choice(*STATISTIC_UNITS)] = "mean"
    result: ClassVar = HeatMaps
    scope: ClassVar = "image"
    takes: ClassVar = LAYERS_AND_PIXELS
    default_layer: ClassVar = INPUT

    def __post_init__(self) -> None:
        if self.statistic == "variance" and (self.samples < 2 or self.noise == 0):
            raise ConfigError("explainer.statistic=variance: expected 2 or more samples and a noise above 0.")

    def explain(self, batch: Batch) -> LayerMaps:
        """Explain the images one after the other, each with the same noise, for all layers and targets at once."""
        layers = with_pixels(batch)
        maps: dict[str, list[Tensor]] = {layer.name: [] for layer in layers}
        for number in progress(range(len(batch)), "smoothgrad", "face", quiet=batch.quiet):
            image = batch.part(slice(number, number + 1))
            copies = noisy_copies(image.images[0], self.samples, self.noise, batch.generator("explainer/smoothgrad"))
            for name, moments in _gradient_moments(image, copies, layers, self.statistic).items():
                maps[name].append(torch.stack([_map_of(of_target, self.statistic) for of_target in moments]))
        stacked = {name: torch.stack(parts) for name, parts in maps.items()}
        return LayerMaps(stacked, STATISTIC_UNITS[self.statistic].format("∂ logit / ∂ {layer}"))


def _gradient_moments(
    batch: Batch, copies: Iterator[Tensor], layers: tuple[Layer, ...], statistic: str
) -> dict[str, list[Moments]]:
    """Compute the moments of the gradients over noisy copies of the single image of a batch.

    Returns:
        Name of a layer -> T moments of [c,h,w].
    """
    total: dict[str, list[Moments]] = {}
    for chunk in copies:
        noisy = batch.with_images(chunk, batch.targets.repeat(len(chunk)))
        for target_pass in noisy.gradients(layers=layers):
            target = target_pass.target
            for name, gradients in target_pass.gradients.items():
                new, so_far = _moments(gradients, statistic), total.setdefault(name, [])
                so_far[target : target + 1] = [so_far[target] + new if target < len(so_far) else new]
    return total


def _map_of(moments: Moments, statistic: str) -> Tensor:
    """Return [h,w] the largest value over the channels."""
    return (moments.deviations / moments.count if statistic == "variance" else moments.mean.abs()).amax(0)
