"""Feature maps: outputs of a layer's filters for each face, and numbers that distinguish early layers from late ones.

The figures are those of Zeiler and Fergus (2014, arXiv:1311.2901) without the projection back to the pixels: the
outputs themselves, of which a part is black (at or below zero). ``measures`` defines the numbers: sharpness, roughness
relative to the size, sparsity, similarity of the filters, and how far the face is still visible.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from fervis.core.knobs import Whole
from fervis.core.layers import Layer
from fervis.core.results import ExplainerOutput, FeatureMaps, join_results
from fervis.core.targets import FilterSpec, select_filters
from fervis.errors import RunError
from fervis.explainers.activations import measures
from fervis.models.batch import Batch
from fervis.models.hooks import outputs_at

OUTPUTS_BATCH = 64


@dataclass
class FeatureMapExplainer:
    """Show the outputs of a layer's filters.

    Attributes:
        filters: ``n`` or ``first:n`` for the first n, ``all``, or a list of filters. The numbers are of the same.
        others: number of other faces of the split that an output is compared with, to estimate how visible any face is.
    """

    filters: Annotated[Any, FilterSpec()] = 64
    others: Annotated[int, Whole(1, 1000)] = 16
    result: ClassVar = FeatureMaps
    scope: ClassVar = "image"
    takes: ClassVar = frozenset({"layers", "pixels"})
    default_layer: ClassVar = "last_conv"

    def explain(self, batch: Batch) -> ExplainerOutput:
        """Return outputs and numbers of every face at every layer, layer by layer.

        ``numbers`` holds their means over faces by layer: ``conv7/black``, ``conv7/sharpness``, ...

        Raises:
            ConfigError: a layer has no such filter.
            RunError: an output is not finite.
        """
        parts: list[list[FeatureMaps]] = [[] for _ in batch.layers]
        others = _reference_faces(batch, self.others)
        for images in batch.images.split(OUTPUTS_BATCH):
            outputs = outputs_at(batch.model, images, batch.layers)
            for part, layer, maps in zip(parts, batch.layers, outputs, strict=True):
                part.append(self._describe(maps, layer, images, others))
        results = [join_results(part) for part in parts]
        names = [layer.name for layer in batch.layers]
        numbers: dict[str, float] = {}
        for name, result in zip(names, results, strict=True):
            numbers |= {f"{name}/{key}": float(values.nanmean()) for key, values in result.layer_numbers().items()}
        count = len(batch.images)
        return ExplainerOutput(
            result=join_results(results),
            layers=tuple(name for name in names for _ in range(count)),
            targets=tuple(f"{len(filters)} filters" for result in results for filters in result.filters),
            images=torch.arange(count).repeat(len(names)),
            numbers={name: value for name, value in numbers.items() if value == value},
        )

    def _describe(self, maps: Tensor, layer: Layer, images: Tensor, others: Tensor) -> FeatureMaps:
        """Return the outputs [N,F,h,w] of the chosen filters of a layer for N faces, with their numbers.

        Args:
            maps: [N,channels,h,w] outputs of all filters.
            layer: the layer.
            images: [N,C,H,W] the faces.
            others: [K,C,H,W] other faces; an exact copy of a face is left out for that face.
        """
        filters = select_filters(self.filters, layer, maps.shape[1])
        maps = maps[:, list(filters)].float()
        if not maps.isfinite().all():
            raise RunError(f"layer={layer.name}: outputs of {int((~maps.isfinite()).sum())} units are not finite.")
        own = measures.face_visible(maps, images[:, None])[..., 0]
        same = torch.stack([(images == other).flatten(1).all(1) for other in others], 1)
        chance = measures.face_visible(maps, others[None]).masked_fill(same[:, None], torch.nan).nanmean(2)
        measured = {
            "sharpness": measures.sharpness(maps),
            "roughness": measures.roughness(maps),
            "sparsity": measures.sparsity(maps),
            "face_visible": own,
            "face_chance": chance,
        }
        numbers = {name: values.nanmean(1) for name, values in measured.items()}
        numbers["similarity"] = measures.pairwise_similarity(maps)
        return FeatureMaps(
            outputs=tuple(maps.cpu()),
            filters=(filters,) * len(maps),
            black=tuple(measures.share_nonpositive(maps).float().cpu()),
            numbers={name: values.float().cpu() for name, values in numbers.items()},
        )


def _reference_faces(batch: Batch, count: int) -> Tensor:
    """Return [K,C,H,W] at most ``count`` faces, evenly spread over the pool, in [0, 1] on the images' device."""
    positions = torch.linspace(0, len(batch.pool) - 1, min(count, len(batch.pool))).round().long()
    faces = batch.pool[positions].to(batch.images.device)
    return faces if faces.is_floating_point() else faces.float() / 255
