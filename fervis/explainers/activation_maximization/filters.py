"""Filter images: the inputs that most activate filters, by gradient ascent (Erhan et al. 2009; Olah et al. 2017).

The filters of a layer are maximized together, each with its own image, at the network's own size and through no more of
the network than lies before the layer. The value reached is compared with noise and with the face that excites the
filter most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from fervis.core.layers import Layer, find_layer
from fervis.core.results import ExplainerOutput, FilterImages, join_results
from fervis.core.targets import FilterSpec, select_filters, top_count
from fervis.errors import ConfigError
from fervis.explainers.activation_maximization.baselines import Baselines, compute_baselines
from fervis.explainers.activation_maximization.maximization import MaximizationSettings, maximize_all
from fervis.explainers.activation_maximization.objectives import (
    Position,
    at_position,
    check_position,
    filter_values,
)
from fervis.metrics.representation.image_symmetry import SymmetricPairs, symmetric_pairs_of
from fervis.models.batch import Batch
from fervis.models.hooks import outputs_at


@dataclass
class Filters(MaximizationSettings):
    """Compute the images that most activate each filter.

    Attributes:
        filters: ``n`` or ``first:n`` for the first n, ``top:n`` for the n that the faces excite most on average,
            ``all``, or a list of filters.
        objective: ``mean`` of the filter's output, its ``centre``, or a position [row,column] of its map.
        symmetry: whether to search for images that are flipped or turned copies of others.
    """

    filters: Annotated[Any, FilterSpec(most_active=True)] = 64
    objective: Any = "mean"
    symmetry: bool = False
    result: ClassVar = FilterImages
    scope: ClassVar = "network"
    takes: ClassVar = frozenset({"layers", "filters"})
    default_layer: ClassVar = "last_conv"

    def __post_init__(self) -> None:
        check_position(self.objective)

    def explain(self, batch: Batch) -> ExplainerOutput:
        """Return one entry per layer and filter; ``target=<layer>/<filter>`` selects a single one.

        Raises:
            ConfigError: the layer is the pixels or does not have a listed filter, or the target is something else.
        """
        single = _resolve_target(batch)
        layers = [single[0]] if single else [layer for layer in batch.layers if not layer.is_input]
        if not single and len(layers) < len(batch.layers):
            raise ConfigError("layer=input: pixels have no filters to climb for; ask for a layer such as last_conv.")
        position = check_position(self.objective)

        def objectives(images: Tensor) -> list[Tensor]:
            outputs = outputs_at(batch.model, images, layers)
            return [at_position(maps, position, layer.name) for maps, layer in zip(outputs, layers, strict=True)]

        results, targets, numbers = [], [], {}
        for layer, baselines in zip(layers, compute_baselines(batch, objectives), strict=True):
            filters = [single[1]] if single else _filters_of_layer(self.filters, layer, baselines)
            result = maximize_all(
                self,
                batch,
                lambda members, dtype, layer=layer: filter_values(batch.model, layer, members, position, dtype),
                filters,
                baselines.take(filters),
                use=f"filters/{layer.name}",
                unit=_objective_unit(position),
            )
            if self.symmetry and len(filters) > 1:
                pairs = symmetric_pairs_of(result.images)
                result = replace(result, numbers=result.numbers | _pair_numbers(pairs, filters), pairs=pairs.rows())
                numbers |= {f"{layer.name}/{name}": value for name, value in pairs.numbers().items()}
            numbers |= _layer_summary(layer.name, result)
            results.append(result)
            targets.append([f"{layer.name}/{number}" for number in filters])
        return ExplainerOutput(
            result=join_results(results),
            layers=tuple(layer.name for layer, names in zip(layers, targets, strict=True) for _ in names),
            targets=tuple(name for names in targets for name in names),
            numbers=numbers,
        )


def _resolve_target(batch: Batch) -> tuple[Layer, int] | None:
    """Return the layer and the filter of ``target=<layer>/<filter>``; None for ``auto``."""
    if batch.target == "auto":
        return None
    name, _, number = str(batch.target).rpartition("/")
    if not name or not number.isdecimal():
        raise ConfigError(f"target={batch.target}: expected auto, or <layer>/<filter> such as conv7/4.")
    layer = find_layer(batch.model, name, batch.images[:1])
    if int(number) >= layer.channels:
        raise ConfigError(f"target={batch.target}: {layer.name} has {layer.channels} filters, numbered from 0.")
    return layer, int(number)


def _filters_of_layer(spec: Any, layer: Layer, baselines: Baselines) -> Sequence[int]:
    """Return the filters that ``filters=`` means; of ``top:n`` the most active first."""
    if count := top_count(spec):
        return baselines.average.argsort(descending=True, stable=True)[:count].tolist()
    return select_filters(spec, layer, layer.channels)


def _objective_unit(position: Position) -> str:
    if position == "mean":
        return "mean output of the filter"
    name = "the centre" if isinstance(position, str) else f"row {position[0]}, column {position[1]}"
    return f"output of the filter at {name}"


def _pair_numbers(pairs: SymmetricPairs, filters: Sequence[int]) -> dict[str, Tensor]:
    return {
        "twin": torch.tensor(filters)[pairs.twin],
        "twin_correlation": pairs.best.float(),
        "twin_baseline": pairs.baseline.float(),
    }


def _layer_summary(layer: str, result: FilterImages) -> dict[str, float]:
    """Return the share of filters that the image excites more than the strongest face, and means of the numbers."""
    return {
        f"{layer}/beyond_faces": float((result.reached >= result.strongest).float().mean()),
        f"{layer}/frequency": float(result.numbers["frequency"].nanmean()),
        f"{layer}/strength": float(result.numbers["strength"].mean()),
    }
