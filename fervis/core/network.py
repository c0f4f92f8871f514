"""A network as fervis asks it: faces as pixels in [0, 1] go in, one logit a class comes out."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LUMA = (0.299, 0.587, 0.114)


class Network(nn.Module):
    """A classifier with everything it needs to see a face: channels, size and normalisation.

    Explanations at the input are therefore explanations of the pixels in [0, 1], whatever the network behind.
    Layers are named inside ``body``: ``layer=conv7`` is ``body.conv7``.

    Args:
        body: maps normalised [N,channels,size,size] float to [N,classes] logits.
        classes: names of the classes, in logit order.
        channels: 1 (grey) or 3 (RGB), what ``body`` takes.
        size: height and width that ``body`` takes, in pixels.
        mean: per channel, of pixels in [0, 1].
        std: per channel, of pixels in [0, 1].
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
    ) -> None:
        super().__init__()
        self.body, self.classes, self.channels, self.size = body, tuple(classes), channels, size
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        """[N,C,H,W] float in [0, 1], C 1 or 3 -> [N,classes] logits."""
        if pixels.shape[1] != self.channels:
            pixels = pixels.expand(-1, 3, -1, -1) if self.channels == 3 else grey(pixels)
        if pixels.shape[-2:] != (self.size, self.size):
            pixels = F.interpolate(pixels, (self.size, self.size), mode="bilinear", antialias=True)
        return self.body((pixels - self.mean) / self.std)


def grey(pixels: Tensor) -> Tensor:
    """[N,3,H,W] RGB -> [N,1,H,W] luma (ITU-R BT.601)."""
    return (pixels * pixels.new_tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)
