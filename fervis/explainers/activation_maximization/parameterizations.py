"""Parameterizations of images for gradient ascent: pixels, a Fourier transform, or its phases.

Each maps parameters to images in [0, 1] at the network's own size, image by image, so that an image does not depend on
the others of its batch, and starts from noise or from a face.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Protocol

import torch
from torch import Generator, Tensor

from fervis.errors import unknown_name

# Square root of the covariance of natural images' colours (Lucid), its columns' largest norm brought to 1.
_COLOR_CORRELATION = ((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03))
PARAMETERIZATIONS = ("fourier", "maco", "pixels")


class Parameterization(Protocol):
    """Map from parameters to images.

    Attributes:
        lr: default learning rate of Adam, in the unit of the parameters.
    """

    lr: ClassVar[float]

    def noise(self, generator: Generator) -> Tensor:
        """Draw the parameters of one image of noise, without the batch, on the CPU."""
        ...

    def from_image(self, image: Tensor) -> Tensor:
        """Return parameters of one image [C,H,W] in [0, 1], as closely as the parameterization can show it."""
        ...

    def images(self, parameters: Tensor) -> Tensor:
        """Return [N,C,H,W] images in [0, 1] of [N,...] parameters."""
        ...


@dataclass(frozen=True)
class Pixels:
    """The image itself, clamped to [0, 1] after each step (projected gradient ascent).

    Attributes:
        shape: C, H, W.
    """

    shape: tuple[int, int, int]
    lr: ClassVar[float] = 0.02

    def noise(self, generator: Generator) -> Tensor:
        """Draw white noise of standard deviation 0.05 about mid-grey."""
        return 0.5 + 0.05 * torch.randn(self.shape, generator=generator)

    def from_image(self, image: Tensor) -> Tensor:
        """Return the image."""
        return image.clone()

    def images(self, parameters: Tensor) -> Tensor:
        """Return the parameters, clamped to [0, 1] in place."""
        with torch.no_grad():
            parameters.clamp_(0, 1)
        return parameters


@dataclass(frozen=True)
class Fourier:
    """The image's discrete Fourier transform, low frequencies scaled up, through a sigmoid (Olah et al. 2017).

    With 1/max(f, 1/max(H,W)) as scale, f in cycles per pixel, a step changes all frequencies of a natural image alike.
    Colours are in decorrelated axes; grey images are unchanged.

    Attributes:
        shape: C, H, W.
    """

    shape: tuple[int, int, int]
    lr: ClassVar[float] = 0.05

    def noise(self, generator: Generator) -> Tensor:
        """Draw [C,H,W//2+1,2] normal parameters of standard deviation 0.01: a nearly grey image."""
        channels, height, width = self.shape
        return 0.01 * torch.randn(channels, height, width // 2 + 1, 2, generator=generator)

    def from_image(self, image: Tensor) -> Tensor:
        """Return the parameters of the image clamped to [0.01, 0.99]: the logit is infinite at 0 and 1."""
        values = decorrelated(image.clamp(0.01, 0.99).logit()[None])[0]
        return torch.view_as_real(torch.fft.rfft2(4 * values, norm="ortho")) / self.scale.to(image)[..., None]

    def images(self, parameters: Tensor) -> Tensor:
        """Apply the inverse transform, divided by 4 as in Lucid, then colour correlation and a sigmoid."""
        spectrum = torch.view_as_complex(parameters * self.scale.to(parameters)[..., None])
        values = torch.fft.irfft2(spectrum, s=self.shape[1:], norm="ortho") / 4
        return correlated(values).sigmoid()

    @cached_property
    def scale(self) -> Tensor:
        """[H,W//2+1] factor of each frequency."""
        return 1 / frequencies(self.shape[1], self.shape[2]).clamp(min=1 / max(self.shape[1:]))


@dataclass(frozen=True)
class FixedSpectrum:
    """Phases only, with the magnitudes of real faces (MACO; Fel et al. 2023, arXiv:2306.06805).

    The objective cannot be raised by high frequencies that no face has. Mean and contrast are those of the faces too,
    so no sigmoid is needed: values beyond [0, 1] are clamped.

    Attributes:
        magnitude: [C,H,W//2+1] mean |rfft2| of the faces, in decorrelated colours; at frequency 0 with the sign of the
            mean, which distinguishes the sides of a colour axis.
        shape: C, H, W.
    """

    magnitude: Tensor
    shape: tuple[int, int, int]
    lr: ClassVar[float] = 0.4

    def noise(self, generator: Generator) -> Tensor:
        """Draw [C,H,W//2+1] phases in radian, uniform in [-pi, pi]."""
        return (2 * torch.rand(self.magnitude.shape, generator=generator) - 1) * math.pi

    def from_image(self, image: Tensor) -> Tensor:
        """Return the image's phases."""
        return torch.fft.rfft2(decorrelated(image[None])[0]).angle()

    def images(self, parameters: Tensor) -> Tensor:
        """Return the images of the faces' magnitudes with these phases, clamped to [0, 1]."""
        return correlated(self.unclamped(parameters)).clamp(0, 1)

    def unclamped(self, phases: Tensor) -> Tensor:
        """Return [N,C,H,W] images in decorrelated colours, whose |rfft2| is ``magnitude`` exactly.

        The first column of a real image's half spectrum, and the last if its width is even, are Hermitian: opposite
        frequencies have opposite phases. Half the difference of a phase and its mirror image's is such a phase, and 0
        where a frequency is its own mirror image and so must be real.
        """
        columns = [0, self.shape[2] // 2] if self.shape[2] % 2 == 0 else [0]
        edges = phases[..., columns]
        mirrored = edges.flip(-2).roll(1, -2)
        phases = phases.clone()
        phases[..., columns] = (edges - mirrored) / 2
        magnitude = self.magnitude.to(phases)
        return torch.fft.irfft2(torch.complex(magnitude * phases.cos(), magnitude * phases.sin()), s=self.shape[1:])


def build_parameterization(name: str, shape: tuple[int, int, int], magnitude: Tensor | None = None) -> Parameterization:
    """Build a parameterization by its name: ``pixels``, ``fourier`` or ``maco``.

    Args:
        name: name of the parameterization.
        shape: C, H, W of the images.
        magnitude: as in ``FixedSpectrum``; needed by ``maco`` alone.
    """
    if name == "pixels":
        return Pixels(shape)
    if name == "fourier":
        return Fourier(shape)
    if name == "maco" and magnitude is not None:
        return FixedSpectrum(magnitude, shape)
    raise unknown_name("explainer.parameterisation", name, PARAMETERIZATIONS)


def frequencies(height: int, width: int) -> Tensor:
    """Return [H,W//2+1] radial frequency of each value of ``rfft2``, in cycles per pixel."""
    return torch.hypot(torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None])


def correlated(images: Tensor) -> Tensor:
    """Convert [N,C,H,W] from decorrelated colours to RGB; images of other than three channels are unchanged."""
    return _mix_colors(images, _mixing_matrix()) if images.shape[1] == 3 else images


def decorrelated(images: Tensor) -> Tensor:
    """Convert [N,C,H,W] from RGB to decorrelated colours, the inverse of ``correlated``."""
    return _mix_colors(images, torch.linalg.inv(_mixing_matrix())) if images.shape[1] == 3 else images


def _mixing_matrix() -> Tensor:
    colours = torch.tensor(_COLOR_CORRELATION, dtype=torch.float64)
    return colours / colours.norm(dim=0).max()


def _mix_colors(images: Tensor, matrix: Tensor) -> Tensor:
    return torch.einsum("rc,nchw->nrhw", matrix.to(images), images)
