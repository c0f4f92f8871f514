"""The small network of the checks, in the forms that explainers commonly get wrong."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CHECK_SIZE = 16


class CheckNetwork(nn.Module):
    """Three convolutions with BatchNorm, pooling and a linear head, with random weights from a fixed seed.

    Args:
        channels: of the images.
        classes: number of logits.
        activation: how it rectifies: by ``modules``, ``inplace``, one ``shared`` module, or a ``functional`` call. The
            weights are the same for all.
        double_conv2: whether the output of ``conv2`` is doubled, as a hook of another tool might.
    """

    calls: Tensor

    def __init__(
        self, channels: int = 1, classes: int = 3, activation: str = "modules", double_conv2: bool = False
    ) -> None:
        super().__init__()
        self.functional, self.double_conv2 = activation == "functional", double_conv2
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.conv1, self.norm = nn.Conv2d(channels, 4, 3, padding=1), nn.BatchNorm2d(4)
            self.conv2, self.conv3 = nn.Conv2d(4, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
            self.head = nn.Linear(6, classes)
            for value in (self.norm.running_mean, self.norm.bias):
                nn.init.uniform_(value, -0.2, 0.2)  # pyright: ignore[reportArgumentType]
            for value in (self.norm.running_var, self.norm.weight):
                nn.init.uniform_(value, 0.2, 1)  # pyright: ignore[reportArgumentType]
            for module in (self.conv1, self.conv2, self.conv3, self.head):
                nn.init.normal_(module.weight, 0, (2 / module.weight[0].numel()) ** 0.5)
        if not self.functional:
            rectifiers = [nn.ReLU(activation == "inplace") for _ in range(3)]
            self.relu1, self.relu2, self.relu3 = rectifiers if activation != "shared" else rectifiers[:1] * 3
        self.pool, self.flatten = nn.MaxPool2d(2), nn.Flatten()
        self.average = nn.AdaptiveAvgPool2d(1)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """[N,C,H,W] float -> [N,classes] logits; the passes are counted in a buffer."""
        self.calls += 1
        rectify = [F.relu] * 3 if self.functional else [self.relu1, self.relu2, self.relu3]
        first = self.pool(rectify[0](self.norm(self.conv1(images))))
        second = self.conv2(first)
        second = rectify[1](second * 2 if self.double_conv2 else second)
        return self.head(self.flatten(self.average(rectify[2](self.conv3(second)))))


def linear_head(network: nn.Module) -> nn.Linear | None:
    """Return the last linear layer of a network, which is taken for its head."""
    layers = [module for module in network.modules() if isinstance(module, nn.Linear)]
    return layers[-1] if layers else None


def leaves(network: nn.Module) -> list[nn.Module]:
    """Return the modules without children."""
    return [module for module in network.modules() if not list(module.children())]
