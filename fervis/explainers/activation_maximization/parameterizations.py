"""How an image is written in numbers that gradient ascent can change: pixels, a Fourier transform, or its phases.

Each canvas maps parameters to images in [0, 1] at the network's own size, image by image, so that what one image
becomes does not depend on the others of its batch. A canvas starts from noise or from a face.
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
    """Parameters as images.

    Attributes:
        lr: the step of Adam that suits the parameters, in their unit.
    """

    lr: ClassVar[float]

    def noise(self, generator: Generator) -> Tensor:
        """Parameters of one image of noise, without the batch; drawn on the CPU."""
        ...

    def of(self, face: Tensor) -> Tensor:
        """Parameters of one image that shows the face [C,H,W] in [0, 1], as well as the canvas can."""
        ...

    def images(self, parameters: Tensor) -> Tensor:
        """[N,...] parameters -> [N,C,H,W] images in [0, 1]."""
        ...


@dataclass(frozen=True)
class Pixels:
    """The image itself, kept in [0, 1]: what is beyond after a step is brought back (projected gradient ascent).

    Attributes:
        shape: C, H, W.
    """

    shape: tuple[int, int, int]
    lr: ClassVar[float] = 0.02

    def noise(self, generator: Generator) -> Tensor:
        """White noise of standard deviation 0.05 about mid-grey."""
        return 0.5 + 0.05 * torch.randn(self.shape, generator=generator)

    def of(self, face: Tensor) -> Tensor:
        """Return the parameters of an image."""
        return face.clone()

    def images(self, parameters: Tensor) -> Tensor:
        """Return the parameters, clamped in place where a step has carried them beyond [0, 1]."""
        with torch.no_grad():
            parameters.clamp_(0, 1)
        return parameters


@dataclass(frozen=True)
class Fourier:
    """The image's discrete Fourier transform, low frequencies scaled up, through a sigmoid (Olah et al. 2017).

    With 1/max(f, 1/max(H,W)) as scale, f in cycles per pixel, a step changes all frequencies of a natural image alike.
    Colours are written in their decorrelated axes; grey is left as it is.

    Attributes:
        shape: C, H, W.
    """

    shape: tuple[int, int, int]
    lr: ClassVar[float] = 0.05

    def noise(self, generator: Generator) -> Tensor:
        """[C,H,W//2+1,2] normal, standard deviation 0.01: nearly grey."""
        channels, height, width = self.shape
        return 0.01 * torch.randn(channels, height, width // 2 + 1, 2, generator=generator)

    def of(self, face: Tensor) -> Tensor:
        """Return the parameters of an image, cut to [0.01, 0.99]; a sigmoid reaches no further."""
        values = decorrelated(face.clamp(0.01, 0.99).logit()[None])[0]
        return torch.view_as_real(torch.fft.rfft2(4 * values, norm="ortho")) / self.scale.to(face)[..., None]

    def images(self, parameters: Tensor) -> Tensor:
        """Inverse transform, divided by 4 as in Lucid, colours, sigmoid."""
        spectrum = torch.view_as_complex(parameters * self.scale.to(parameters)[..., None])
        values = torch.fft.irfft2(spectrum, s=self.shape[1:], norm="ortho") / 4
        return correlated(values).sigmoid()

    @cached_property
    def scale(self) -> Tensor:
        """[H,W//2+1] what each frequency is multiplied by."""
        return 1 / frequencies(self.shape[1], self.shape[2]).clamp(min=1 / max(self.shape[1:]))


@dataclass(frozen=True)
class FixedSpectrum:
    """Only the phases, the magnitudes being those of real faces (MACO; Fel et al. 2023, arXiv:2306.06805).

    The image cannot win by high frequencies that no face has. Its mean and its contrast are those of the faces too,
    so no sigmoid is needed: values beyond [0, 1] are cut off.

    Attributes:
        magnitude: [C,H,W//2+1] mean |rfft2| of the faces, in decorrelated colours; at frequency 0 with the sign of the
            mean, which tells one side of a colour axis from the other.
        shape: C, H, W.
    """

    magnitude: Tensor
    shape: tuple[int, int, int]
    lr: ClassVar[float] = 0.4

    def noise(self, generator: Generator) -> Tensor:
        """[C,H,W//2+1] phases in radian, even in [-pi, pi]."""
        return (2 * torch.rand(self.magnitude.shape, generator=generator) - 1) * math.pi

    def of(self, face: Tensor) -> Tensor:
        """Return the phases of an image."""
        return torch.fft.rfft2(decorrelated(face[None])[0]).angle()

    def images(self, parameters: Tensor) -> Tensor:
        """Return the faces' magnitudes with these phases, as an image, cut off at 0 and 1."""
        return correlated(self.uncut(parameters)).clamp(0, 1)

    def uncut(self, phases: Tensor) -> Tensor:
        """[N,C,H,W] in decorrelated colours, whose |rfft2| is ``magnitude`` exactly.

        The first and the last column of a real image's half spectrum are bound to be Hermitian: their phases are
        taken as the difference of each frequency's and its mirror image's, which leaves real frequencies positive.
        """
        columns = [0, self.shape[2] // 2] if self.shape[2] % 2 == 0 else [0]
        edges = phases[..., columns]
        mirrored = edges.flip(-2).roll(1, -2)
        phases = phases.clone()
        phases[..., columns] = (edges - mirrored) / 2
        magnitude = self.magnitude.to(phases)
        return torch.fft.irfft2(torch.complex(magnitude * phases.cos(), magnitude * phases.sin()), s=self.shape[1:])


def build_parameterization(name: str, shape: tuple[int, int, int], magnitude: Tensor | None = None) -> Parameterization:
    """Build the parameterization of a name: ``pixels``, ``fourier`` or ``maco``.

    Args:
        name: of the parameterisation.
        shape: C, H, W of the images.
        magnitude: as ``FixedSpectrum``, which needs it.
    """
    if name == "pixels":
        return Pixels(shape)
    if name == "fourier":
        return Fourier(shape)
    if name == "maco" and magnitude is not None:
        return FixedSpectrum(magnitude, shape)
    raise unknown_name("explainer.parameterisation", name, PARAMETERIZATIONS)


def frequencies(height: int, width: int) -> Tensor:
    """[H,W//2+1] radial frequency of each value of ``rfft2``, in cycles per pixel."""
    return torch.hypot(torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None])


def correlated(images: Tensor) -> Tensor:
    """[N,C,H,W] from decorrelated colours to RGB; other than three channels are left as they are."""
    return _mix_colors(images, _mixing_matrix()) if images.shape[1] == 3 else images


def decorrelated(images: Tensor) -> Tensor:
    """Return the inverse of ``correlated``."""
    return _mix_colors(images, torch.linalg.inv(_mixing_matrix())) if images.shape[1] == 3 else images


def _mixing_matrix() -> Tensor:
    colours = torch.tensor(_COLOR_CORRELATION, dtype=torch.float64)
    return colours / colours.norm(dim=0).max()


def _mix_colors(images: Tensor, matrix: Tensor) -> Tensor:
    return torch.einsum("rc,nchw->nrhw", matrix.to(images), images)
