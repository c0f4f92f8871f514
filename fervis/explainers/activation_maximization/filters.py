"""Filter images: the inputs that most activate filters, by gradient ascent (Erhan et al. 2009; Olah et al. 2017).

A layer's filters climb together, each its own image, at the network's own size and through no more of it than lies
before the layer. What is reached is held against noise and against the face that excites the filter most.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from fervis.core.layers import Layer, find_layer
from fervis.core.results import ExplainerOutput, FilterImages, join_results
from fervis.core.targets import check_filters, select_filters
from fervis.errors import ConfigError
from fervis.explainers.activation_maximization.baselines import Baselines, compute_baselines, selected_images
from fervis.explainers.activation_maximization.maximization import MaximizationSettings, maximize_all
from fervis.explainers.activation_maximization.objectives import at_position, check_position, filter_values
from fervis.metrics.representation.image_symmetry import SymmetricPairs, symmetric_pairs_of
from fervis.models.batch import Batch
from fervis.models.hooks import outputs_at


@dataclass
class Filters(MaximizationSettings):
    """Climbs the images that most activate each filter.

    Attributes:
        filters: ``n`` or ``first:n`` for the first n, ``top:n`` for the n that the faces excite most on average,
            ``all``, or a list of filters.
        objective: ``mean`` of the filter's output, its ``centre``, or a position [row,column] of its map.
        symmetry: whether to look for images that are flipped or turned copies of others.
    """

    filters: Any = 64
    objective: Any = "mean"
    symmetry: bool = False
    result: ClassVar = FilterImages
    scope: ClassVar = "network"
    takes: ClassVar = frozenset({"layers", "filters"})
    default_layer: ClassVar = "last_conv"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not _most_active(self.filters):
            check_filters(self.filters)
        check_position(self.objective)

    def explain(self, batch: Batch) -> ExplainerOutput:
        """Maximize each filter: one entry per layer and filter; ``target=<layer>/<filter>`` selects one alone.

        Raises:
            ConfigError: the pixels were asked for, a filter that a layer does not have, or another target.
        """
        one = _resolve_filters(batch)
        layers = [one[0]] if one else [layer for layer in batch.layers if not layer.is_input]
        if not one and len(layers) < len(batch.layers):
            raise ConfigError("layer=input: pixels have no filters to climb for; ask for a layer such as last_conv.")
        place = check_position(self.objective)

        def answers(images: Tensor) -> list[Tensor]:
            found = outputs_at(batch.model, images, layers)
            return [at_position(maps, place, layer.name) for maps, layer in zip(found, layers, strict=True)]

        results, targets, numbers = [], [], {}
        for layer, beside in zip(layers, compute_baselines(batch, answers), strict=True):
            filters = [one[1]] if one else _filters_of_layer(self.filters, layer, beside)
            result = maximize_all(
                self,
                batch,
                lambda some, quick, layer=layer: filter_values(batch.model, layer, some, place, quick),
                filters,
                selected_images(beside, filters),
                use=f"filters/{layer.name}",
                unit=_objective_unit(place),
            )
            if self.symmetry and len(filters) > 1:
                found = symmetric_pairs_of(result.images)
                result = replace(result, numbers=result.numbers | _image_numbers(found, filters), pairs=found.rows())
                numbers |= {f"{layer.name}/{name}": value for name, value in found.numbers().items()}
            numbers |= _layer_summary(layer.name, result)
            results.append(result)
            targets.append([f"{layer.name}/{number}" for number in filters])
        return ExplainerOutput(
            result=join_results(results),
            layers=tuple(layer.name for layer, some in zip(layers, targets, strict=True) for _ in some),
            targets=tuple(target for some in targets for target in some),
            numbers=numbers,
        )


def _resolve_filters(batch: Batch) -> tuple[Layer, int] | None:
    """Return the layer and the filter of ``target=<layer>/<filter>``."""
    if batch.target == "auto":
        return None
    name, _, number = str(batch.target).rpartition("/")
    if not name or not number.isdecimal():
        raise ConfigError(f"target={batch.target}: expected auto, or <layer>/<filter> such as conv7/4.")
    layer = find_layer(batch.model, name, batch.images[:1])
    if int(number) >= layer.channels:
        raise ConfigError(f"target={batch.target}: {layer.name} has {layer.channels} filters, numbered from 0.")
    return layer, int(number)


def _most_active(spec: Any) -> int:
    """N of ``top:n`` or {top: n}, 0 for other forms."""
    spec = f"top:{spec['top']}" if isinstance(spec, dict) and list(spec) == ["top"] else spec
    found = re.fullmatch(r"top:\s*(\d+)", spec) if isinstance(spec, str) else None
    return int(found[1]) if found else 0


def _filters_of_layer(spec: Any, layer: Layer, beside: Baselines) -> Sequence[int]:
    """Return the filters that ``filters=`` means; of the most active ones the most active first."""
    if most := _most_active(spec):
        return beside.average.argsort(descending=True, stable=True)[:most].tolist()
    return select_filters(spec, layer, layer.channels)


def _objective_unit(place: str | tuple[int, int]) -> str:
    if place == "mean":
        return "mean output of the filter"
    where = "the centre" if isinstance(place, str) else f"row {place[0]}, column {place[1]}"
    return f"output of the filter at {where}"


def _image_numbers(found: SymmetricPairs, filters: Sequence[int]) -> dict[str, Tensor]:
    return {
        "twin": torch.tensor(filters)[found.twin],
        "twin_correlation": found.best.float(),
        "twin_baseline": found.baseline.float(),
    }


def _layer_summary(layer: str, result: FilterImages) -> dict[str, float]:
    """Of how many filters the image excites more than the strongest face, and the images' mean numbers."""
    return {
        f"{layer}/beyond_faces": float((result.reached >= result.strongest).float().mean()),
        f"{layer}/frequency": float(result.numbers["frequency"].nanmean()),
        f"{layer}/strength": float(result.numbers["strength"].mean()),
    }
