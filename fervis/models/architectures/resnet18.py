"""resnet18: eighteen layers with shortcuts, with the stem for small images."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import Tensor, nn

from fervis.core.knobs import Whole
from fervis.models.architectures.base import Architecture


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut around them: each ReLU is a separate module."""

    def __init__(self, channels: int, filters: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, filters, 3, stride, padding=1, bias=False)
        self.bn1, self.relu1 = nn.BatchNorm2d(filters), nn.ReLU()
        self.conv2 = nn.Conv2d(filters, filters, 3, padding=1, bias=False)
        self.bn2, self.relu2 = nn.BatchNorm2d(filters), nn.ReLU()
        self.downsample = nn.Sequential()
        if stride > 1 or channels != filters:
            self.downsample.append(nn.Conv2d(channels, filters, 1, stride, bias=False))
            self.downsample.append(nn.BatchNorm2d(filters))

    def forward(self, x: Tensor) -> Tensor:
        """[N,channels,H,W] -> [N,filters,H/stride,W/stride]."""
        y = self.relu1(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.relu2(y + self.downsample(x))


def resnet18(channels: int, width: int, classes: int) -> nn.Sequential:
    """Build ResNet-18 whose first convolution is 3x3 of stride 1 without a max-pooling behind it, as for CIFAR.

    After He, Zhang, Ren & Sun 2016, "Deep Residual Learning for Image Recognition", arXiv 1512.03385. The layers have
    their usual names (``layer1.0.conv1``, ``fc``).
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["conv1"] = nn.Conv2d(channels, width, 3, padding=1, bias=False)
    layers["bn1"], layers["relu"] = nn.BatchNorm2d(width), nn.ReLU()
    for stage in range(4):
        before, filters = width * 2 ** max(stage - 1, 0), width * 2**stage
        first = Block(before, filters, stride=2 if stage else 1)
        layers[f"layer{stage + 1}"] = nn.Sequential(first, Block(filters, filters, stride=1))
    layers["avgpool"], layers["flatten"] = nn.AdaptiveAvgPool2d(1), nn.Flatten()
    layers["fc"] = nn.Linear(8 * width, classes)
    network = nn.Sequential(layers)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return network


@dataclass
class ResNet18(Architecture):
    """The knobs of ``resnet18``.

    Attributes:
        width: filters of the first stage.
    """

    width: Annotated[int, Whole(1)] = 64

    name: ClassVar[str] = "resnet18"
    smallest: ClassVar[int] = 9
    why_smallest: ClassVar[str] = "its last map of images of {size} pixels is one position"

    def body(self, channels: int, classes: int) -> nn.Sequential:
        """Return the network behind the normalisation; initial weights are Kaiming's."""
        return resnet18(channels, self.width, classes)
