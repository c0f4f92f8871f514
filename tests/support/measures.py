"""Batches and truths of a few pixels, for tests of measures."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from fervis.core.faces import Truth
from fervis.core.layers import resolve_layers
from fervis.core.targets import class_targets
from fervis.evidence.protocol import ExplainAgain
from fervis.models.batch import Batch


class MeanPixel(nn.Module):
    """Two logits: the mean pixel and its opposite."""

    def forward(self, images: Tensor) -> Tensor:
        mean = images.flatten(1).mean(1)
        return torch.stack([mean, -mean], 1)


def batch_for(
    maps: Tensor, evidence: Tensor | None = None, model: nn.Module | None = None, images: Tensor | None = None
) -> Batch:
    """Return a batch whose images have these maps [N,T,H,W], and this evidence [N,H,W]."""
    count, targets, height, width = maps.shape
    if images is None:
        images = torch.rand(count, 1, height, width, generator=torch.Generator().manual_seed(0))
    model = model or MeanPixel()
    truth = None
    if evidence is not None:
        truth = Truth(evidence, torch.zeros_like(evidence, dtype=torch.uint8), ("",), torch.zeros(count, 1), ("AU1",))
    classes = class_targets(torch.arange(targets).expand(count, -1) % 2)
    return Batch(model, images, resolve_layers(model, "input", images[:1]), classes, classes=("a", "b"), truth=truth)


def refuse_again(images: Tensor | None = None, model: nn.Module | None = None, *, seed: int | None = None) -> Tensor:
    """Fail: the measure is to explain nothing again."""
    raise AssertionError("nothing is to be explained again")


def gradient_of(batch: Batch, change: Callable[[Tensor], Tensor] = Tensor.abs) -> ExplainAgain:
    """Return the gradient of each target by torch's own autograd as a method, image by image."""

    def again(images: Tensor | None = None, model: nn.Module | None = None, *, seed: int | None = None) -> Tensor:
        images, model = batch.images if images is None else images, model or batch.model
        assert batch.targets.classes is not None
        classes = batch.targets.classes.repeat_interleave(len(images) // len(batch), 0)
        maps = []
        for image, numbers in zip(images, classes.tolist(), strict=True):
            source = image[None].clone().requires_grad_()
            rows = [torch.autograd.grad(model(source)[0, number], source)[0][0].sum(0) for number in numbers]
            maps.append(change(torch.stack(rows)))
        return torch.stack(maps)

    return again
