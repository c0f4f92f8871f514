"""Feature maps: what the filters of a layer give for each face, and numbers that tell early layers from late ones.

The pictures are those of Zeiler and Fergus (2014, arXiv:1311.2901) without the way back to the pixels: the outputs
themselves, from which part is black (at or below zero). ``measures`` defines the numbers: how sharp, how
rough for its size, how sparse an output is, how alike the filters are, and how far the face still shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fervis.core.layers import Layer
from fervis.core.protocols import NetworkContext
from fervis.core.results import ExplainerOutput, FeatureMaps, join_results
from fervis.core.targets import check_filters, select_filters
from fervis.errors import ConfigError, RunError
from fervis.explainers.activations import measures
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
    kind: ClassVar[str] = FeatureMaps.kind
    default_layer: ClassVar[str] = "last_conv"
    uses_layers: ClassVar[bool] = True
    by_face: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_filters(self.filters)
        if not 1 <= self.others <= 1000:
            raise ConfigError(f"explainer.others={self.others}: expected a number of faces from 1 to 1000.")

    def examine(self, model: nn.Module, inquiry: NetworkContext) -> ExplainerOutput:
        """Outputs and numbers of every face at every layer, layer by layer.

        ``numbers`` has their mean over faces by layer: ``conv7/black``, ``conv7/sharpness``, ...

        Raises:
            ConfigError: a layer has no such filter.
            RunError: an output is not finite.
        """
        parts: list[list[FeatureMaps]] = [[] for _ in inquiry.layers]
        strangers = reference_faces(inquiry, self.others)
        for images in inquiry.images.split(OUTPUTS_BATCH):
            found = outputs_at(model, images, inquiry.layers)
            for part, layer, maps in zip(parts, inquiry.layers, found, strict=True):
                part.append(self.described(maps, layer, images, strangers))
        results = [join_results(part) for part in parts]
        names = ["input" if layer is None else layer.name for layer in inquiry.layers]
        numbers: dict[str, float] = {}
        for name, one in zip(names, results, strict=True):
            means = {"black": torch.stack([part.mean() for part in one.black]), **one.numbers}
            numbers |= {f"{name}/{key}": float(values.nanmean()) for key, values in means.items()}
        count = len(inquiry.images)
        return ExplainerOutput(
            result=join_results(results),
            layers=tuple(name for name in names for _ in range(count)),
            targets=tuple(f"{len(filters)} filters" for one in results for filters in one.filters),
            who=torch.arange(count).repeat(len(names)),
            numbers={name: value for name, value in numbers.items() if value == value},
        )

    def described(self, maps: Tensor, layer: Layer | None, images: Tensor, strangers: Tensor) -> FeatureMaps:
        """The chosen filters' outputs [N,F,h,w] of one layer for N faces, with their numbers.

        Args:
            maps: [N,channels,h,w] the outputs of all filters.
            layer: where they are; None for the pixels.
            images: [N,C,H,W] the faces.
            strangers: [K,C,H,W] other faces; where one is the same picture as a face, it is left out for that face.
        """
        filters = select_filters(self.filters, layer, maps.shape[1])
        maps = maps[:, list(filters)].float()
        if not maps.isfinite().all():
            name = "input" if layer is None else layer.name
            raise RunError(f"layer={name}: outputs of {int((~maps.isfinite()).sum())} units are not finite.")
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


def reference_faces(inquiry: NetworkContext, count: int) -> Tensor:
    """[K,C,H,W] at most ``count`` faces from places evenly spread over the pool, in [0, 1] on the images' device."""
    places = torch.linspace(0, len(inquiry.pool) - 1, min(count, len(inquiry.pool))).round().long()
    some = inquiry.pool[places].to(inquiry.images.device)
    return some if some.is_floating_point() else some.float() / 255
