"""The faces that excite a filter most, with the place in each face (Zeiler and Fergus 2014, arXiv:1311.2901, fig. 2).

Faces are ranked by the highest output that a filter gives anywhere on them, in one pass over the split that keeps no
more than the best of each filter. The place is that of the highest output: the pixels it can see (its receptive field)
and those it looks at most (the middle half of its gradient).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from fervis.core.layers import Layer
from fervis.core.results import ExplainerOutput, TopActivations, join_results
from fervis.core.targets import check_filters, select_filters
from fervis.errors import ConfigError
from fervis.explainers.activations import receptive_field
from fervis.explainers.activations.ranking import RankedActivations, first_occurrences, rank_activations
from fervis.models.batch import Batch

TOP_FACES_BATCH = 64


@dataclass
class TopActivatingImages:
    """Finds the faces that excite each filter most.

    Attributes:
        filters: ``n`` or ``first:n`` for the first n, ``all``, or a list of filters.
        top: how many faces a filter.
        copies: rank exact copies of a picture too, instead of the one with the lowest row alone.
    """

    filters: Any = 64
    top: int = 9
    copies: bool = False
    result: ClassVar = TopActivations
    scope: ClassVar = "network"
    takes: ClassVar = frozenset({"layers"})
    default_layer: ClassVar = "last_conv"

    def __post_init__(self) -> None:
        check_filters(self.filters)
        if not 1 <= self.top <= 100:
            raise ConfigError(f"explainer.top={self.top}: expected a number of faces from 1 to 100.")

    def explain(self, batch: Batch) -> ExplainerOutput:
        """The strongest faces of the split for every chosen filter of every layer.

        Of faces with equal outputs the one with the lowest row comes first. ``numbers`` has by layer the mean over
        filters of ``dead``, and ``dead_filters``, the part of them that is dead at every face.

        Raises:
            ConfigError: the pixels were asked for, or a filter that a layer does not have.
            RunError: an output is not finite.
        """
        layers = [layer for layer in batch.layers if not layer.is_input]
        if len(layers) < len(batch.layers):
            raise ConfigError("layer=input: pixels have no filters to excite; ask for a layer such as last_conv.")
        filters = [select_filters(self.filters, layer, layer.channels) for layer in layers]
        ranked = torch.ones(len(batch.pool), dtype=torch.bool) if self.copies else first_occurrences(batch)
        top = min(self.top, int(ranked.sum()))
        found = rank_activations(batch, layers, filters, ranked, top)
        results = [describe_filters(batch, *one) for one in zip(layers, filters, found, strict=True)]
        numbers: dict[str, float] = {}
        for layer, one in zip(layers, results, strict=True):
            numbers[f"{layer.name}/dead"] = float(one.dead.mean())
            numbers[f"{layer.name}/dead_filters"] = float((one.dead == 1).float().mean())
        return ExplainerOutput(
            result=join_results(results),
            layers=tuple(layer.name for layer, some in zip(layers, filters, strict=True) for _ in some),
            targets=tuple(f"{layer.name}/{one}" for layer, some in zip(layers, filters, strict=True) for one in some),
            numbers=numbers,
        )


def describe_filters(batch: Batch, layer: Layer, filters: tuple[int, ...], peaks: RankedActivations) -> TopActivations:
    """The peaks of one layer as faces with their places: F entries of T faces."""
    faces, units = peaks.faces.T, peaks.units.T
    places = torch.stack([units // layer.grid[1], units % layer.grid[1]], -1)
    fields = receptive_field.receptive_fields(batch.model, batch.images[:1], layer)
    boxes = fields[places[..., 0], places[..., 1]]
    whose = torch.tensor(filters)[:, None].expand_as(faces).flatten()
    pool, cores = batch.pool, []
    for some in torch.arange(faces.numel()).split(TOP_FACES_BATCH):
        images = pool[faces.flatten()[some]].to(batch.images.device)
        images = images if images.is_floating_point() else images.float() / 255
        felt = receptive_field.sensitivity(batch.model, images, layer, whose[some], places.flatten(0, 1)[some])
        cores.append(receptive_field.sensitivity_boxes(felt, boxes.flatten(0, 1)[some]))
    return TopActivations(
        rows=batch.rows.cpu()[faces],
        labels=batch.labels.cpu()[faces],
        values=peaks.values.T.contiguous(),
        boxes=boxes,
        cores=torch.cat(cores).unflatten(0, faces.shape),
        images=as_bytes(pool[faces.flatten()]).unflatten(0, faces.shape),
        dead=peaks.dead.float() / len(pool),
    )


def as_bytes(images: Tensor) -> Tensor:
    """Faces as uint8 pictures; floats are taken to run from 0 to 1, or as far beyond as they go."""
    if not images.is_floating_point():
        return images
    low, high = min(0.0, float(images.min())), max(1.0, float(images.max()))
    return ((images - low) / (high - low) * 255).round().to(torch.uint8)
