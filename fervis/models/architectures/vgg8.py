"""vgg8: eight 3x3 convolutions in four stages, a plain network whose every layer can be named and explained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import Tensor, nn

from fervis.core.knobs import Range, Whole
from fervis.models.architectures.base import Architecture

_LEAK = 0.1


class VGG8(nn.Module):
    """The network's layers in reading order: ``conv1 norm1 relu1 conv2 norm2 relu2 pool1 conv3 ... relu8 pool4 head``.

    Two convolutions per stage (Simonyan & Zisserman 2015, arXiv 1409.1556, configuration B without its last stage) with
    BatchNorm and LeakyReLU (slope 0.1), then global average pooling, dropout and one linear layer. Convolutions have
    no bias, since BatchNorm has one. Every layer is a separate module and none works in place.

    Args:
        channels: of the input.
        width: filters of the first stage; each stage has twice as many as the one before.
        dropout: probability before the linear layer.
        classes: how many logits.
    """

    def __init__(self, channels: int, width: int, dropout: float, classes: int) -> None:
        super().__init__()
        for i in range(1, 9):
            stage = (i - 1) // 2
            filters = width * 2**stage
            self.add_module(f"conv{i}", nn.Conv2d(channels, filters, 3, padding=1, bias=False))
            self.add_module(f"norm{i}", nn.BatchNorm2d(filters))
            self.add_module(f"relu{i}", nn.LeakyReLU(_LEAK))
            if i % 2 == 0:
                self.add_module(f"pool{stage + 1}", nn.MaxPool2d(2))
            channels = filters
        self.average = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(channels, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, _LEAK, mode="fan_out")

    def forward(self, x: Tensor) -> Tensor:
        """[N,channels,H,W] -> [N,classes], H and W at least 16: the layers in the order of their declaration."""
        for layer in self.children():
            x = layer(x)
        return x


@dataclass
class Vgg8(Architecture):
    """The knobs of ``vgg8``.

    Attributes:
        width: filters of the first stage.
        dropout: probability before the linear layer.
        weights: name of trained weights that come with fervis, and with them their width.
    """

    width: Annotated[int, Whole(1)] = 16
    dropout: Annotated[float, Range(0, 1, open_high=True)] = 0.2
    weights: str | None = "auto"

    name: ClassVar[str] = "vgg8"
    smallest: ClassVar[int] = 16
    why_smallest: ClassVar[str] = "images of {size} pixels vanish in four poolings"

    def body(self, channels: int, classes: int) -> VGG8:
        """Return the network behind the normalisation; initial weights are Kaiming's."""
        return VGG8(channels, self.width, self.dropout, classes)
