"""A small convolutional network and its activations and gradients, by torch's own autograd, for tests of CAMs."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SmallNet(nn.Module):
    """Two rectified convolutions and two linear layers, so that gradients differ from position to position."""

    def __init__(self, bias: bool = True) -> None:
        super().__init__()
        self.conv1, self.relu1 = nn.Conv2d(1, 4, 3, padding=1, bias=bias), nn.ReLU()
        self.conv2, self.relu2 = nn.Conv2d(4, 6, 3, padding=1, stride=2, bias=bias), nn.ReLU()
        self.hidden, self.head = nn.Linear(6 * 25, 8, bias=bias), nn.Linear(8, 4, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """[N,1,10,10] -> [N,4]."""
        features = self.relu2(self.conv2(self.relu1(self.conv1(x))))
        return self.head(self.hidden(features.flatten(1)).relu())


class PooledNet(nn.Module):
    """Convolutions, the mean over positions, and one linear layer: what CAM was made for."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2, self.relu2 = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 6, 3), nn.ReLU()
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        """[N,1,12,12] -> [N,3]."""
        return self.head(self.relu2(self.conv2(self.conv1(x).relu())).mean((2, 3)))


def seeded(build: type[nn.Module], *arguments: object) -> nn.Module:
    """Build a network with the weights of seed 0, in eval mode; the global generator is left as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build(*arguments).eval()


def noise(*shape: int, seed: int = 1) -> Tensor:
    """Return uniform values in [0, 1)."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def activations_at(model: nn.Module, images: Tensor, layer: str) -> tuple[Tensor, Tensor]:
    """Return a layer's output, in the graph of the logits, and the logits."""
    outputs: list[Tensor] = []
    handle = model.get_submodule(layer).register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    logits = model(images)
    handle.remove()
    return outputs[0], logits


def activations_and_gradients(
    model: nn.Module, images: Tensor, layer: str, weights: Tensor
) -> list[tuple[Tensor, Tensor]]:
    """Return activations and gradients [c,h,w] of each image, of the logits times ``weights`` [K], in float64."""
    pairs = []
    for image in images:
        output, logits = activations_at(model, image[None], layer)
        (gradient,) = torch.autograd.grad((logits[0] * weights).sum(), output)
        pairs.append((output[0].detach().double(), gradient[0].double()))
    return pairs


def one_hot(number: int, count: int) -> Tensor:
    """Return 1 at one place of ``count`` and 0 elsewhere."""
    return torch.eye(count)[number]
