"""vgg8: eight 3x3 convolutions in four stages, the plain network whose every layer can be named and explained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from fervis.core.network import Network
from fervis.errors import ConfigError

SLOPE = 0.1


class VGG8(nn.Module):
    """The network's layers in reading order: ``conv1 norm1 relu1 conv2 norm2 relu2 pool1 conv3 ... relu8 pool4 head``.

    Two convolutions a stage (Simonyan & Zisserman 2015, arXiv 1409.1556, configuration B without its last stage) with
    BatchNorm and LeakyReLU (slope 0.1), then global average pooling, dropout and one linear layer. Convolutions have
    no bias, since BatchNorm has one. Every layer is a module of its own and none works in place.

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
            self.add_module(f"relu{i}", nn.LeakyReLU(SLOPE))
            if i % 2 == 0:
                self.add_module(f"pool{stage + 1}", nn.MaxPool2d(2))
            channels = filters
        self.average = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(channels, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, SLOPE, mode="fan_out")

    def forward(self, x: Tensor) -> Tensor:
        """[N,channels,H,W] -> [N,classes], H and W at least 16: the layers one after the other as they are declared."""
        for layer in self.children():
            x = layer(x)
        return x


@dataclass
class Vgg8:
    """The knobs of ``vgg8``.

    Attributes:
        width: filters of the first stage.
        dropout: probability before the linear layer.
        weights: name of trained weights that come with fervis, and with them their width.
        checkpoint: a file of weights.
    """

    width: int = 16
    dropout: float = 0.2
    weights: str | None = "auto"
    checkpoint: str | None = None

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ConfigError(f"model.width={self.width}: at least one filter in the first stage was expected.")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"model.dropout={self.dropout}: a probability from 0 to below 1 was expected.")

    def build(self, *, channels: int, size: int, classes: tuple[str, ...]) -> Network:
        """Build it; initial weights are Kaiming's, from torch's global generator."""
        if size < 16:
            raise ConfigError(f"model=vgg8: faces of {size} pixels vanish in four poolings; at least 16 are needed.")
        body = VGG8(channels, self.width, self.dropout, len(classes))
        mean, std = (0.5,) * channels, (0.25,) * channels
        return Network(body, classes=classes, channels=channels, size=size, mean=mean, std=std)

    def files(self) -> list[Path]:
        """The checkpoint, where one is given."""
        return [Path(self.checkpoint)] if self.checkpoint else []
