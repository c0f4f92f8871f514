"""mini_xception: a small depthwise-separable network that classifies FER2013 in real time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import Tensor, nn

from fervis.core.knobs import Whole
from fervis.models.architectures.base import Architecture


def _separable(channels: int, filters: int) -> nn.Sequential:
    """Build a depthwise 3x3 convolution, then a 1x1 convolution across channels, without biases."""
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
        nn.Conv2d(channels, filters, 1, bias=False),
    )


class Separable(nn.Module):
    """Two separable convolutions and a max-pooling, plus a 1x1 convolution of stride 2: half the size."""

    def __init__(self, channels: int, filters: int) -> None:
        super().__init__()
        self.shortcut = nn.Conv2d(channels, filters, 1, stride=2, bias=False)
        self.shortcut_norm = nn.BatchNorm2d(filters)
        self.conv1, self.norm1, self.relu1 = _separable(channels, filters), nn.BatchNorm2d(filters), nn.ReLU()
        self.conv2, self.norm2 = _separable(filters, filters), nn.BatchNorm2d(filters)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[N,channels,H,W] -> [N,filters,ceil(H/2),ceil(W/2)]."""
        shortcut = self.shortcut_norm(self.shortcut(x))
        x = self.relu1(self.norm1(self.conv1(x)))
        return self.pool(self.norm2(self.conv2(x))) + shortcut


class MiniXception(nn.Module):
    """Two unpadded 3x3 convolutions, four separable modules, a 3x3 convolution to the classes, averaged.

    After Arriaga, Valdenegro-Toro & Ploeger 2017, "Real-time Convolutional Neural Networks for Emotion and Gender
    Classification", arXiv 1710.07557. With width 8, one channel and seven classes it has 56,951 parameters.
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
class MiniXceptionKnobs(Architecture):
    """The knobs of ``mini_xception``.

    Attributes:
        width: filters of the first two convolutions.
    """

    width: Annotated[int, Whole(1)] = 8

    name: ClassVar[str] = "mini_xception"
    smallest: ClassVar[int] = 21
    why_smallest: ClassVar[str] = "its last map of images of {size} pixels is one position"

    def body(self, channels: int, classes: int) -> MiniXception:
        """Return the network behind the normalisation, with torch's default initial weights."""
        return MiniXception(channels, self.width, classes)
