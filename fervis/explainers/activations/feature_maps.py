"""Feature maps: what the filters of a layer give for each face, and numbers that tell early layers from late ones.

The pictures are those of Zeiler and Fergus (2014, arXiv:1311.2901) without the way back to the pixels: the outputs
themselves, from which part is black (at or below zero). ``measures`` defines the numbers: how sharp, how
rough for its size, how sparse an output is, how alike the filters are, and how far the face still shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from fervis.core.layers import Layer
from fervis.core.results import ExplainerOutput, FeatureMaps, join_results
from fervis.core.targets import check_filters, select_filters
from fervis.errors import ConfigError, RunError
from fervis.explainers.activations import measures
from fervis.models.batch import Batch
from fervis.models.hooks import outputs_at

OUTPUTS_BATCH = 64


@dataclass
class FeatureMapExplainer:
    """Shows the outputs of a layer's filters.

    Attributes:
        filters: ``n`` or ``first:n`` for the first n, ``all``, or a list of filters. The numbers are theirs too.
        others: how many other faces of the split say how far any face shows in an output, beside its own.
    """

    filters: Any = 64
    others: int = 16
    result: ClassVar = FeatureMaps
    scope: ClassVar = "image"
    takes: ClassVar = frozenset({"layers", "pixels"})
    default_layer: ClassVar = "last_conv"

    def __post_init__(self) -> None:
        check_filters(self.filters)
        if not 1 <= self.others <= 1000:
            raise ConfigError(f"explainer.others={self.others}: expected a number of faces from 1 to 1000.")

    def explain(self, batch: Batch) -> ExplainerOutput:
        """Outputs and numbers of every face at every layer, layer by layer.

        ``numbers`` has their mean over faces by layer: ``conv7/black``, ``conv7/sharpness``, ...

        Raises:
            ConfigError: a layer has no such filter.
            RunError: an output is not finite.
        """
        parts: list[list[FeatureMaps]] = [[] for _ in batch.layers]
        strangers = reference_faces(batch, self.others)
        for images in batch.images.split(OUTPUTS_BATCH):
            found = outputs_at(batch.model, images, batch.layers)
            for part, layer, maps in zip(parts, batch.layers, found, strict=True):
                part.append(self.described(maps, layer, images, strangers))
        results = [join_results(part) for part in parts]
        names = [layer.name for layer in batch.layers]
        numbers: dict[str, float] = {}
        for name, one in zip(names, results, strict=True):
            means = {"black": torch.stack([part.mean() for part in one.black]), **one.numbers}
            numbers |= {f"{name}/{key}": float(values.nanmean()) for key, values in means.items()}
        count = len(batch.images)
        return ExplainerOutput(
            result=join_results(results),
            layers=tuple(name for name in names for _ in range(count)),
            targets=tuple(f"{len(filters)} filters" for one in results for filters in one.filters),
            who=torch.arange(count).repeat(len(names)),
            numbers={name: value for name, value in numbers.items() if value == value},
        )

    def described(self, maps: Tensor, layer: Layer, images: Tensor, strangers: Tensor) -> FeatureMaps:
        """The chosen filters' outputs [N,F,h,w] of one layer for N faces, with their numbers.

        Args:
            maps: [N,channels,h,w] the outputs of all filters.
            layer: where they are.
            images: [N,C,H,W] the faces.
            strangers: [K,C,H,W] other faces; where one is the same picture as a face, it is left out for that face.
        """
        filters = select_filters(self.filters, layer, maps.shape[1])
        maps = maps[:, list(filters)].float()
        if not maps.isfinite().all():
            raise RunError(f"layer={layer.name}: outputs of {int((~maps.isfinite()).sum())} units are not finite.")
        own = measures.face_visible(maps, images[:, None])[..., 0]
        same = torch.stack([(images == stranger).flatten(1).all(1) for stranger in strangers], 1)
        chance = measures.face_visible(maps, strangers[None]).masked_fill(same[:, None], torch.nan).nanmean(2)
        each = {
            "sharpness": measures.sharpness(maps),
            "roughness": measures.roughness(maps),
            "sparsity": measures.sparsity(maps),
            "face_visible": own,
            "face_chance": chance,
        }
        numbers = {name: values.nanmean(1) for name, values in each.items()}
        numbers["similarity"] = measures.pairwise_similarity(maps)
        return FeatureMaps(
            outputs=tuple(maps.cpu()),
            filters=(filters,) * len(maps),
            black=tuple(measures.share_nonpositive(maps).float().cpu()),
            numbers={name: values.float().cpu() for name, values in numbers.items()},
        )


def reference_faces(batch: Batch, count: int) -> Tensor:
    """[K,C,H,W] at most ``count`` faces from places evenly spread over the pool, in [0, 1] on the images' device."""
    places = torch.linspace(0, len(batch.pool) - 1, min(count, len(batch.pool))).round().long()
    some = batch.pool[places].to(batch.images.device)
    return some if some.is_floating_point() else some.float() / 255
