"""A network with the preprocessing of its images: from pixels in [0, 1] to one logit per class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fervis.core.network_outputs import select_logits

LUMA = (0.299, 0.587, 0.114)

PIXEL_RANGES: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "unit": ((0.0,), (1.0,)),
    "signed": ((0.5,), (0.5,)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "bytes": ((0.0,), (1 / 255,)),
    "standardized": ((0.0,), (1.0,)),
}
"""Mean and standard deviation, of pixels in [0, 1], that bring them to a named range. ``standardized`` images are then
brought to mean 0 and deviation 1 each."""
_RANGE_TEXTS = {
    "unit": "pixels in [0, 1]",
    "signed": "pixels in [-1, 1]",
    "imagenet": "pixels in [0, 1] less ImageNet's mean, over its deviation",
    "bytes": "pixels from 0 to 255",
    "standardized": "each image brought to mean 0 and deviation 1",
}


def pixel_statistics(name: str, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation per channel of a named range of pixels; those of RGB are averaged for grey.

    Example:
        >>> pixel_statistics("signed", 3)
        ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    """
    mean, std = (per_channel(values, channels) for values in PIXEL_RANGES[name])
    return mean, std


def per_channel(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    """Return values for another number of channels: their average, as often as it takes."""
    return tuple(values) if len(values) == channels else (sum(values) / len(values),) * channels


class Network(nn.Module):
    """A classifier with the preprocessing of its images: channels, size and normalisation.

    Explanations at the input are therefore explanations of the pixels in [0, 1], for any ``body``.
    Layers are named inside ``body``: ``layer=conv7`` is ``body.conv7``.

    Attributes:
        settings: the name and the knobs of the plug-in that built it, written into files of its weights.
        pixels_stated: whether the config states which pixels ``body`` takes. If not, weights of a foreign file get
            pixels in [0, 1] (``fervis.models.state_dicts.load_weights``).

    Args:
        body: maps normalised [N,channels,size,size] float to [N,classes] logits.
        classes: names of the classes, in logit order.
        channels: 1 (grey) or 3 (RGB), what ``body`` takes.
        size: height and width that ``body`` takes, in pixels.
        mean: per channel, of pixels in [0, 1].
        std: per channel, of pixels in [0, 1].
        standardize: whether each image is brought to mean 0 and deviation 1 after that.
        pixels_stated: see above.
        settings: see above.
        output: which tensor of the body's output the logits are, where it returns several.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        body: nn.Module,
        *,
        classes: tuple[str, ...],
        channels: int,
        size: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        standardize: bool = False,
        pixels_stated: bool = True,
        settings: Mapping[str, Any] | None = None,
        output: str | int | None = None,
    ) -> None:
        super().__init__()
        self.body, self.classes, self.channels, self.size = body, tuple(classes), channels, size
        self.output = output
        self.standardize, self.pixels_stated, self.settings = standardize, pixels_stated, dict(settings or {})
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    @property
    def pixels(self) -> str:
        """The pixels that ``body`` gets, in words, such as ``pixels in [0, 1]``."""
        mean, std = (value.flatten().tolist() for value in (self.mean, self.std))
        for name, text in _RANGE_TEXTS.items():
            known = torch.tensor(pixel_statistics(name, self.channels)).tolist()
            if (name == "standardized") == self.standardize and [mean, std] == known:
                return text
        text = f"(pixels - {_format_channels(mean)}) / {_format_channels(std)} of pixels in [0, 1]"
        return f"{text}, then {_RANGE_TEXTS['standardized']}" if self.standardize else text

    def forward(self, pixels: Tensor) -> Tensor:
        """[N,C,H,W] float in [0, 1], C 1 or 3 -> [N,classes] logits."""
        return select_logits(self.body(self.normalized(self.fitted(pixels))), self.output)

    def fitted(self, pixels: Tensor) -> Tensor:
        """[N,C,H,W] float in [0, 1], C 1 or 3 -> [N,channels,size,size], not yet normalised."""
        if pixels.shape[1] != self.channels:
            pixels = pixels.expand(-1, 3, -1, -1) if self.channels == 3 else grey(pixels)
        if pixels.shape[-2:] != (self.size, self.size):
            pixels = F.interpolate(pixels, (self.size, self.size), mode="bilinear", antialias=True)
        return pixels

    def normalized(self, pixels: Tensor) -> Tensor:
        """[N,channels,size,size] float in [0, 1] -> what ``body`` takes."""
        pixels = (pixels - self.mean) / self.std
        return standardized(pixels) if self.standardize else pixels


def grey(pixels: Tensor) -> Tensor:
    """[N,3,H,W] RGB -> [N,1,H,W] luma (ITU-R BT.601)."""
    return (pixels * pixels.new_tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)


def standardized(pixels: Tensor) -> Tensor:
    """Bring each of [N,C,H,W] images to mean 0 and standard deviation 1."""
    mean, deviation = image_statistics(pixels)
    return (pixels - mean) / deviation


def image_statistics(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation [N,1,1,1] of each of [N,C,H,W] images.

    The deviation counts as at least 1/sqrt(CHW), as in TensorFlow's ``per_image_standardization``, so that an image
    of one value becomes zeros.
    """
    least = pixels[0].numel() ** -0.5
    mean = pixels.mean((1, 2, 3), keepdim=True)
    # The floor is taken of the variance: the slope of a square root at 0 is infinite.
    return mean, (pixels - mean).square().mean((1, 2, 3), keepdim=True).clamp(min=least**2).sqrt()


def _format_channels(values: list[float]) -> str:
    return f"{values[0]:g}" if len(set(values)) == 1 else f"[{', '.join(f'{value:g}' for value in values)}]"
