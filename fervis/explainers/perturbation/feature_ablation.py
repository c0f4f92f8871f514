"""Feature ablation: decrease of the target when a part of the face is hidden (Zeiler and Fergus 2014, arXiv:1311.2901).

The parts are superpixels, which are hidden one at a time; the value of each is f(x) - f(x without it). What several
parts hold in common shows in none of them: ``part_shapley`` shares it out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar

import torch

from fervis.core.knobs import Above, Choice, Number, Whole
from fervis.core.layers import INPUT
from fervis.core.results import HeatMaps, LayerMaps
from fervis.explainers.perturbation.image_maps import (
    ImageMaps,
    bf16_difference,
    explain_images,
    output_name,
    stack_images,
)
from fervis.explainers.perturbation.superpixels import SEGMENTATIONS, image_features
from fervis.models.batch import Batch
from fervis.models.masking import OUTPUTS, PASS_PRECISIONS, MaskedPasses


@dataclass
class FeatureAblation:
    """Hide one superpixel at a time and measure how much the target falls.

    Attributes:
        superpixels: ``parts``, ``areas``, ``slic`` or ``grid`` (see ``superpixels.py``).
        segments: about how many superpixels; of ``slic`` and ``grid``.
        compactness: of ``slic``.
        fill: what hides a superpixel: ``mean``, its own mean, or a pixel value.
        output: what is measured of a class: its ``logit`` or its ``probability``.
        precision: of the network's passes: ``fp32``, or ``bf16``, which is faster and less exact.
    """

    superpixels: Annotated[str, Choice(*SEGMENTATIONS)] = "parts"
    segments: Annotated[int, Whole(2)] = 40
    compactness: Annotated[float, Above(0)] = 10.0
    fill: Annotated[Any, Choice("mean") | Number()] = "mean"
    output: Annotated[str, Choice(*OUTPUTS)] = "logit"
    precision: Annotated[str, Choice(*PASS_PRECISIONS)] = "fp32"
    result: ClassVar = HeatMaps
    scope: ClassVar = "image"
    takes: ClassVar = frozenset({"pixels", "classes", "filters"})
    default_layer: ClassVar = INPUT

    def explain(self, batch: Batch) -> LayerMaps:
        """Explain each image for all its targets with the same masked passes, one more than it has superpixels."""
        explain = partial(self._explain_image, batch)
        maps = explain_images(batch, "feature_ablation", self.output, self.precision, explain)
        unit = f"fall of the {output_name(self.output, batch.targets)} without the superpixel"
        return stack_images(maps, unit, batch.images.device)

    def _explain_image(self, batch: Batch, passes: MaskedPasses, number: int) -> ImageMaps:
        image = batch.images[number]
        features = image_features(
            image, self.superpixels, segments=self.segments, compactness=self.compactness, fill=self.fill
        )
        shown = torch.cat([torch.ones(1, len(features)), 1 - torch.eye(len(features))])
        values = passes(image, features.masks(shown), features.fill)
        columns = passes.columns(number, values)
        falls = values[:1, columns] - values[1:, columns]
        scores = {"superpixels": torch.full((len(columns),), len(features))}
        scores |= bf16_difference(passes, image, next(features.masks(shown)), features.fill, columns)
        return ImageMaps(features.paint(falls), scores)
