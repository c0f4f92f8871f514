"""Part Shapley: the exact Shapley values of ten parts of the face, and what pairs of them do together (Shapley 1953).

The network scores all 1,024 coalitions of parts that are shown; the values follow exactly, without samples, and add up
to f(whole face) - f(all hidden). The Shapley interaction index of a pair is what the two add together beyond what
each adds alone: positive if they depend on each other, negative if either suffices (Grabisch and Roubens 1999).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar

import torch

from fervis.core.knobs import Choice, Number, Whole
from fervis.core.layers import INPUT
from fervis.core.results import HeatMaps, LayerMaps
from fervis.explainers.perturbation.coalitions import all_coalitions, shapley_interactions, shapley_values
from fervis.explainers.perturbation.image_maps import (
    ImageMaps,
    bf16_difference,
    explain_images,
    output_name,
    stack_images,
)
from fervis.explainers.perturbation.superpixels import image_features
from fervis.models.batch import Batch
from fervis.models.masking import OUTPUTS, PASS_PRECISIONS, MaskedPasses


@dataclass
class PartShapley:
    """Compute the exact Shapley values of a few parts, with the interactions of pairs.

    Attributes:
        parts: ``areas``, ten of an aligned face (see ``superpixels.py``), or ``grid``, equal cells.
        segments: about how many cells; of ``grid``. Every further one doubles the passes.
        fill: what hides a part: ``mean``, its own mean, or a pixel value.
        output: what is explained of a class: its ``logit`` or its ``probability``.
        precision: of the network's passes: ``fp32``, or ``bf16``, which is faster and less exact.
    """

    parts: Annotated[str, Choice("areas", "grid")] = "areas"
    segments: Annotated[int, Whole(2, 12)] = 9
    fill: Annotated[Any, Choice("mean") | Number()] = "mean"
    output: Annotated[str, Choice(*OUTPUTS)] = "logit"
    precision: Annotated[str, Choice(*PASS_PRECISIONS)] = "fp32"
    result: ClassVar = HeatMaps
    scope: ClassVar = "image"
    takes: ClassVar = frozenset({"pixels", "classes", "filters"})
    default_layer: ClassVar = INPUT

    def explain(self, batch: Batch) -> LayerMaps:
        """Explain each image for all its targets with the same masked passes.

        The scores of each map are ``base``, the output where all parts are hidden, and ``interaction``, the largest
        share of an interaction: the largest absolute interaction, divided by the sum of absolute values. The extras are
        ``part_values`` [N,T,d] and ``interactions`` [N,T,d,d], in the order of ``AREAS`` or of the cells.
        """
        explain = partial(self._explain_image, batch)
        maps = explain_images(batch, "part_shapley", self.output, self.precision, explain)
        unit = f"Shapley value: the part's share of the {output_name(self.output, batch.targets)}"
        return stack_images(maps, unit, batch.images.device)

    def _explain_image(self, batch: Batch, passes: MaskedPasses, number: int) -> ImageMaps:
        image = batch.images[number]
        features = image_features(image, self.parts, segments=self.segments, compactness=1.0, fill=self.fill)
        coalitions = all_coalitions(len(features))
        values = passes(image, features.masks(coalitions), features.fill)
        columns = passes.columns(number, values)
        values = values[:, columns]
        shares, interactions = shapley_values(values).T, shapley_interactions(values).permute(2, 0, 1)
        strongest, size = interactions.abs().amax((1, 2)), shares.abs().sum(1)
        scores = {"base": values[0], "interaction": torch.where(size > 0, strongest / size, 0.0)}
        scores |= bf16_difference(passes, image, next(features.masks(coalitions)), features.fill, columns)
        return ImageMaps(features.paint(shares.T), scores, extras={"part_values": shares, "interactions": interactions})
