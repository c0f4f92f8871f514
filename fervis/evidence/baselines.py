"""Baselines that every measure also scores: a random map and an edge map, neither of which depends on the network."""

from __future__ import annotations

import torch
from torch import Tensor

from fervis.models.batch import Batch
from fervis.models.image_edges import sobel_magnitude


def random_map(batch: Batch) -> Tensor:
    """Return maps [N,T,H,W] of independent uniform values, the same for every image and batch."""
    height, width = batch.images.shape[2:]
    draws = torch.rand(batch.targets.count, height, width, generator=batch.generator("evidence/random_map"))
    return draws.expand(len(batch), -1, -1, -1).to(batch.images.device)


def edge_map(batch: Batch) -> Tensor:
    """Return maps [N,T,H,W] of the Sobel gradient's magnitude of the mean channel, the same for every target."""
    return sobel_magnitude(batch.images)[:, None].expand(-1, batch.targets.count, -1, -1)


BASELINES = {"random_map": random_map, "edge_map": edge_map}
