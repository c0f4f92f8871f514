"""A random map: independent uniform values, which depend on neither the image's content nor the network.

The draws derive from the seed, the target and the image's own pixels: each image and each target has its own values,
and an image has the same ones in every batch.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fervis.core.layers import INPUT
from fervis.core.results import HeatMaps, LayerMaps
from fervis.models.batch import Batch


@dataclass
class RandomMap:
    """Draw every pixel of every map from the uniform distribution on [0, 1); it has no settings."""

    result: ClassVar = HeatMaps
    scope: ClassVar = "image"
    takes: ClassVar = frozenset({"pixels", "classes", "filters"})
    default_layer: ClassVar = INPUT

    def explain(self, batch: Batch) -> LayerMaps:
        """Draw the maps of all images and targets."""
        maps = torch.stack([_draws(batch, number) for number in range(len(batch))])
        return LayerMaps({INPUT: maps.to(batch.images.device)}, "uniform random number")


def _draws(batch: Batch, number: int) -> Tensor:
    """Return the maps [T,H,W] of one image."""
    targets, image = batch.targets, batch.images[number].detach().float().cpu().contiguous()
    digest = hashlib.sha256(image.numpy().tobytes()).hexdigest()
    if targets.classes is None:
        names = [f"{targets.layer}/{filter_number}" for filter_number in targets.filters]
    else:
        names = [str(class_number) for class_number in targets.classes[number].tolist()]
    generators = [batch.generator(f"explainer/random_map/{name}/{digest}") for name in names]
    return torch.stack([torch.rand(image.shape[1:], generator=generator) for generator in generators])
