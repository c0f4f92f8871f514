"""Grids of 2 x 2 images of different classes, and networks that read a grid (Böhle et al. 2021, Rao et al. 2022)."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from fervis.core.knobs import Range
from fervis.core.network import Network
from fervis.errors import ConfigError
from fervis.evidence.localization.known_pixels import marking_values
from fervis.evidence.protocol import ExplainAgain
from fervis.models.batch import Batch

SURE = 0.9
"""Probability above which the network is sure of an image; Rao et al. ask for .99 of networks trained on ImageNet."""
_REFERENCES = 256  # images among which the companions are chosen
_LOGITS_ALIKE = 1e-3  # relative difference of logits by rounding


@dataclass
class GridMeasure:
    """What the measures on grids have in common.

    Attributes:
        confidence: probability of each image, by itself, for its class. An image of which the network is less sure, or
            whose map is of another class, has no score.
    """

    confidence: Annotated[float, Range(0.5, 1)] = SURE
    better: ClassVar = "higher"
    needs: ClassVar = frozenset({"explain_again"})


class CellWise(nn.Module):
    """Apply a module to each cell of a grid by itself, so that nothing passes from cell to cell.

    Args:
        module: maps [N,c,h,w] to [N,d,k,l].
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, grid: Tensor) -> Tensor:
        """[N,c,2h,2w] -> [N,d,2k,2l]."""
        rows = [torch.cat([self.module(cell) for cell in row.chunk(2, 3)], 3) for row in grid.chunk(2, 2)]
        return torch.cat(rows, 2)


class FirstCell(nn.Module):
    """Apply a module to the upper left cell of a grid alone."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, grid: Tensor) -> Tensor:
        """[N,c,2h,2w] -> what the module makes of [N,c,h,w]."""
        return self.module(grid.chunk(2, 2)[0].chunk(2, 3)[0])


def grid_network(model: nn.Module, measure: str) -> nn.Module:
    """Return a copy of a network that takes images of twice the height and width.

    Raises:
        ConfigError: it does not end in one global average, and so takes images of one size, or means a place by a unit.
    """
    if len(_global_averages(model)) != 1:
        raise ConfigError(
            f"evidence={measure}: it applies the network to a grid of four images, and needs one that averages its "
            "last maps (a single AdaptiveAvgPool2d(1)), such as model=vgg8, resnet18 or mini_xception."
        )
    network = copy.deepcopy(model)
    if isinstance(network, Network):
        network.size *= 2
    return network


def disconnected_network(model: nn.Module, grids: Tensor, measure: str) -> nn.Module:
    """Return a copy of a network for grids whose cells do not reach each other, and whose output reads the first alone.

    Every layer keeps its name and has the map of the whole grid.

    Args:
        model: the network.
        grids: [N,C,2H,2W], to check that the copy gives the logits of the first cell by itself.
        measure: for refusals.

    Raises:
        ConfigError: as ``grid_network``, or the copy gives other logits, since the network is more than its modules.
    """
    network = grid_network(model, measure)
    averages = _global_averages(network)
    spatial = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)
    for path, module in list(network.named_modules()):
        if module in averages or isinstance(module, spatial):
            parent, _, name = path.rpartition(".")
            wrapped = FirstCell(module) if module in averages else CellWise(module)
            setattr(network.get_submodule(parent), name, wrapped)
    with torch.no_grad():
        alone, found = model(grids[:1].chunk(2, 2)[0].chunk(2, 3)[0].clone()), network(grids[:1].clone())
    if not (alone - found).abs().max() <= _LOGITS_ALIKE * alone.abs().max().clamp(min=1e-6):
        raise ConfigError(
            f"evidence={measure}: the network has operations beyond its modules of convolution and pooling, whose "
            "cells cannot be kept apart."
        )
    return network


def grids_of(batch: Batch, confidence: float, measure: str) -> tuple[Tensor, Tensor]:
    """Put each image into the upper left cell of a grid, among three images of other classes.

    These are of the reference images the ones of which the network is most sure, one for each class: for an image
    that is classified as c those of the next classes behind c. A grid does not depend on the batch.

    Args:
        batch: N images with T classes each.
        confidence: probability from which the network is sure of an image.
        measure: for refusals.

    Returns:
        [N,C,2H,2W] the grids, and [N,T] bool, whether the network is sure that the image has the class.

    Raises:
        ConfigError: targets are filters, or the network is sure of too few classes.
    """
    classes = batch.targets.classes
    if classes is None:
        raise ConfigError(f"evidence={measure}: it scores maps of classes, not of filters.")
    candidates = batch.reference_images(torch.arange(min(batch.reference_count(), _REFERENCES)))
    highest, position = batch.score([candidates]).softmax(1).max(0)  # of each class
    known = (highest >= confidence).nonzero()[:, 0]
    if len(known) < 4:
        raise ConfigError(
            f"evidence={measure}: the network is sure of images of {len(known)} classes, expected 4 or more (a "
            f"probability of {confidence:g}); train it longer or lower evidence.{measure}.confidence."
        )
    own = batch.score([batch.images]).softmax(1)
    behind = (known - own.argmax(1, keepdim=True) - 1) % own.shape[1]  # [N,classes]: 0 for the class that follows
    chosen = position[known[behind.argsort(1)[:, :3]]]
    upper, lower, last = candidates[chosen.flatten()].unflatten(0, (-1, 3)).to(batch.images).unbind(1)
    grids = torch.cat([torch.cat([batch.images, upper], 3), torch.cat([lower, last], 3)], 2)
    return grids, own.gather(1, classes.cpu()) >= confidence


def first_cell_share(again: ExplainAgain, grids: Tensor, network: nn.Module) -> Tensor:
    """Explain grids [N,C,2H,2W] and return the share [N,T] of each map's positive part in the upper left cell."""
    maps = again(images=grids, model=network)
    height, width = (side // 2 for side in maps.shape[2:])
    total = marking_values(maps, "positive").sum(2)
    inside = marking_values(maps[..., :height, :width], "positive").sum(2)
    return inside / total.where(total > 0, 1.0)


def _global_averages(model: nn.Module) -> list[nn.Module]:
    pools = (module for module in model.modules() if isinstance(module, nn.AdaptiveAvgPool2d))
    return [pool for pool in pools if pool.output_size in (1, (1, 1))]
