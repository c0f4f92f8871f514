"""Networks by hand whose scores of evidence are known in closed form, and batches of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fervis.core.layers import resolve_layers
from fervis.core.registry import build_plugin
from fervis.core.targets import class_targets
from fervis.models.batch import Batch


class Linear(nn.Module):
    """Two classes, whose logits are weighted sums of the pixels."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = nn.Parameter(weights)  # [2,C,H,W]

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) @ self.weights.flatten(1).T


def linear_batch(size: int = 8, channels: int = 1, count: int = 2, seed: int = 0) -> tuple[Batch, Tensor]:
    """Return random images of a random linear network of two targets, and weights times pixels [N,2,H,W]."""
    generator = torch.Generator().manual_seed(seed)
    model = Linear(torch.randn(2, channels, size, size, generator=generator))
    images = torch.rand(count, channels, size, size, generator=generator)
    layers = resolve_layers(model, "input", images[:1])
    batch = Batch(model, images, layers, class_targets([[0, 1], [1, 0]] * (count // 2)), classes=("a", "b"))
    classes = batch.targets.classes
    assert classes is not None
    return batch, (model.weights.detach()[classes] * images[:, None]).sum(2)


def nothing_again(images: Tensor | None = None, model: nn.Module | None = None) -> Tensor:
    raise AssertionError("nothing is to be explained again")


def scores(name: str, batch: Batch, maps: Tensor, **knobs: Any) -> dict[str, Tensor]:
    return build_plugin("evidence", name, **knobs).measure(batch, maps, nothing_again)


def logits(batch: Batch, images: Tensor) -> Tensor:
    with torch.no_grad():
        return batch.model(images)
