"""mini_xception: the small depthwise-separable network that made FER2013 a real-time matter."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from fervis.core.network import Network
from fervis.errors import ConfigError


def separable(channels: int, filters: int) -> nn.Sequential:
    """A 3x3 convolution of each channel by itself, then a 1x1 convolution across channels, neither with a bias."""
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
        nn.Conv2d(channels, filters, 1, bias=False),
    )


class Separable(nn.Module):
    """Two separable convolutions and a max-pooling beside a 1x1 convolution of stride 2; their sum, half the size."""

    def __init__(self, channels: int, filters: int) -> None:
        super().__init__()
        self.shortcut = nn.Conv2d(channels, filters, 1, stride=2, bias=False)
        self.shortcut_norm = nn.BatchNorm2d(filters)
        self.conv1, self.norm1, self.relu1 = separable(channels, filters), nn.BatchNorm2d(filters), nn.ReLU()
        self.conv2, self.norm2 = separable(filters, filters), nn.BatchNorm2d(filters)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[N,channels,H,W] -> [N,filters,ceil(H/2),ceil(W/2)]."""
        shortcut = self.shortcut_norm(self.shortcut(x))
        x = self.relu1(self.norm1(self.conv1(x)))
        return self.pool(self.norm2(self.conv2(x))) + shortcut


class MiniXception(nn.Module):
    """Two unpadded 3x3 convolutions, four separable modules, a 3x3 convolution to the classes, its average.

    After Arriaga, Valdenegro-Toro & Ploeger 2017, "Real-time Convolutional Neural Networks for Emotion and Gender
    Classification", arXiv 1710.07557. With width 8, one channel and seven classes it learns 56,951 numbers.
    """

    def __init__(self, channels: int, width: int, classes: int) -> None:
        super().__init__()
        self.conv1, self.norm1, self.relu1 = nn.Conv2d(channels, width, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        self.conv2, self.norm2, self.relu2 = nn.Conv2d(width, width, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        self.stage1 = Separable(width, 2 * width)
        self.stage2 = Separable(2 * width, 4 * width)
        self.stage3 = Separable(4 * width, 8 * width)
        self.stage4 = Separable(8 * width, 16 * width)
        self.head = nn.Conv2d(16 * width, classes, 3, padding=1)
        self.average = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()

    def forward(self, x: Tensor) -> Tensor:
        """[N,channels,H,W] -> [N,classes]."""
        x = self.relu1(self.norm1(self.conv1(x)))
        x = self.relu2(self.norm2(self.conv2(x)))
        x = self.stage4(self.stage3(self.stage2(self.stage1(x))))
        return self.flatten(self.average(self.head(x)))


@dataclass
class MiniXceptionKnobs:
    """The knobs of ``mini_xception``: filters of the first convolutions, a file of weights."""

    width: int = 8
    checkpoint: str | None = None

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ConfigError(f"model.width={self.width}: at least one filter in the first convolutions was expected.")

    def build(self, *, channels: int, size: int, classes: tuple[str, ...]) -> Network:
        """Build it with torch's default initial weights."""
        if size < 21:
            raise ConfigError(
                f"model=mini_xception: its last map of {size} pixels is one position; faces of at least 21 are needed."
            )
        body = MiniXception(channels, self.width, len(classes))
        mean, std = (0.5,) * channels, (0.25,) * channels
        return Network(body, classes=classes, channels=channels, size=size, mean=mean, std=std)

    def files(self) -> list[Path]:
        """The checkpoint, where one is given."""
        return [Path(self.checkpoint)] if self.checkpoint else []
