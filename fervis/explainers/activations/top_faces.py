"""Faces that excite a filter most, with the position in each face (Zeiler and Fergus 2014, arXiv:1311.2901, fig. 2).

Faces are ranked by the highest output of a filter anywhere on them, in one pass over the split that keeps only the best
of each filter. The position is that of the highest output: the pixels it can see (its receptive field) and those it is
most sensitive to (the middle half of its gradient).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from fervis.core.knobs import Whole
from fervis.core.layers import Layer
from fervis.core.results import ExplainerOutput, TopActivations, join_results
from fervis.core.targets import FilterSpec, select_filters
from fervis.errors import ConfigError
from fervis.explainers.activations import receptive_field
from fervis.explainers.activations.ranking import RankedActivations, first_occurrences, rank_activations
from fervis.models.batch import Batch

TOP_FACES_BATCH = 64


@dataclass
class TopActivatingImages:
    """Find the faces that excite each filter most.

    Attributes:
        filters: ``n`` or ``first:n`` for the first n, ``all``, or a list of filters.
        top: number of faces per filter.
        copies: rank exact copies of a face too, instead of only the one with the lowest row.
    """

    filters: Annotated[Any, FilterSpec()] = 64
    top: Annotated[int, Whole(1, 100)] = 9
    copies: bool = False
    result: ClassVar = TopActivations
    scope: ClassVar = "network"
    takes: ClassVar = frozenset({"layers"})
    default_layer: ClassVar = "last_conv"

    def explain(self, batch: Batch) -> ExplainerOutput:
        """Return the strongest faces of the split for every chosen filter of every layer.

        Of faces with equal outputs the one with the lowest row comes first. ``numbers`` holds by layer the mean over
        filters of ``dead``, and ``dead_filters``, the part of the filters that is dead at every face.

        Raises:
            ConfigError: the layer is the pixels, or does not have a listed filter.
            RunError: an output is not finite.
        """
        layers = [layer for layer in batch.layers if not layer.is_input]
        if len(layers) < len(batch.layers):
            raise ConfigError("layer=input: pixels have no filters to excite; ask for a layer such as last_conv.")
        filters = [select_filters(self.filters, layer, layer.channels) for layer in layers]
        ranked = torch.ones(len(batch.pool), dtype=torch.bool) if self.copies else first_occurrences(batch)
        top = min(self.top, int(ranked.sum()))
        best = rank_activations(batch, layers, filters, ranked, top)
        results = [_describe_filters(batch, *layer) for layer in zip(layers, filters, best, strict=True)]
        numbers: dict[str, float] = {}
        for layer, result in zip(layers, results, strict=True):
            numbers[f"{layer.name}/dead"] = float(result.dead.mean())
            numbers[f"{layer.name}/dead_filters"] = float((result.dead == 1).float().mean())
        named = [(layer.name, number) for layer, chosen in zip(layers, filters, strict=True) for number in chosen]
        return ExplainerOutput(
            result=join_results(results),
            layers=tuple(layer for layer, _ in named),
            targets=tuple(f"{layer}/{number}" for layer, number in named),
            numbers=numbers,
        )


def _describe_filters(batch: Batch, layer: Layer, filters: tuple[int, ...], best: RankedActivations) -> TopActivations:
    """Return the highest outputs of a layer as faces with their positions: F entries of T faces."""
    faces, units = best.faces.T, best.units.T
    positions = torch.stack([units // layer.grid[1], units % layer.grid[1]], -1)
    fields = receptive_field.receptive_fields(batch.model, batch.images[:1], layer)
    boxes = fields[positions[..., 0], positions[..., 1]]
    numbers = torch.tensor(filters)[:, None].expand_as(faces).flatten()
    pool, cores = batch.pool, []
    for index in torch.arange(faces.numel()).split(TOP_FACES_BATCH):
        images = pool[faces.flatten()[index]].to(batch.images.device)
        images = images if images.is_floating_point() else images.float() / 255
        at = positions.flatten(0, 1)[index]
        sensitivities = receptive_field.sensitivity(batch.model, images, layer, numbers[index], at)
        cores.append(receptive_field.sensitivity_boxes(sensitivities, boxes.flatten(0, 1)[index]))
    return TopActivations(
        rows=batch.rows.cpu()[faces],
        labels=batch.labels.cpu()[faces],
        values=best.values.T.contiguous(),
        boxes=boxes,
        cores=torch.cat(cores).unflatten(0, faces.shape),
        images=as_bytes(pool[faces.flatten()]).unflatten(0, faces.shape),
        dead=best.dead.float() / len(pool),
    )


def as_bytes(images: Tensor) -> Tensor:
    """Return images as uint8; floats are scaled from [0, 1], or from their own range where it is wider."""
    if not images.is_floating_point():
        return images
    low, high = min(0.0, float(images.min())), max(1.0, float(images.max()))
    return ((images - low) / (high - low) * 255).round().to(torch.uint8)
