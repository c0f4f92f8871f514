"""KernelSHAP: Shapley values of superpixels by a weighted linear model (Lundberg and Lee 2017, arXiv:1705.07874).

Coalitions of superpixels are shown, the others are hidden; the values add up to f(whole image) - f(all hidden).
Coalitions are drawn in pairs with the chance of the Shapley kernel, which gives each value a standard error (Covert and
Lee 2021, arXiv:2012.01536). Where there are no more coalitions than samples, all are used, and the values are exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from fervis.core.knobs import Above, Choice, Number, Whole
from fervis.core.layers import INPUT
from fervis.core.results import HeatMaps, LayerMaps
from fervis.explainers.perturbation.coalitions import (
    ShapleyEstimate,
    all_coalitions,
    estimate_shapley,
    paired_coalitions,
    shapley_values,
)
from fervis.explainers.perturbation.image_maps import (
    ImageMaps,
    bf16_difference,
    explain_images,
    output_name,
    relative_error,
    stack_images,
)
from fervis.explainers.perturbation.superpixels import SEGMENTATIONS, Features, image_features
from fervis.models.batch import Batch
from fervis.models.masking import MASKS_PER_CHUNK, OUTPUTS, PASS_PRECISIONS, MaskedPasses


@dataclass
class KernelShap:
    """Estimate the Shapley value of each superpixel.

    Attributes:
        superpixels: ``slic``, ``grid``, ``parts`` or ``areas`` (see ``superpixels.py``).
        segments: about how many superpixels; of ``slic`` and ``grid``.
        compactness: of ``slic``.
        samples: coalitions per image at most; if there are no more coalitions than this, all are used.
        fill: what hides a superpixel: ``mean``, its own mean, or a pixel value.
        output: what is explained of a class: its ``probability`` or its ``logit``.
        error_target: stop for an image when the root mean square of the standard errors is below this part of the range
            of the values of each of its targets; None to use all samples.
        precision: of the network's passes: ``fp32``, or ``bf16``, which is faster and less exact.
    """

    superpixels: Annotated[str, Choice(*SEGMENTATIONS)] = "slic"
    segments: Annotated[int, Whole(2)] = 40
    compactness: Annotated[float, Above(0)] = 10.0
    samples: Annotated[int, Whole(2, 10_000_000)] = 2000
    fill: Annotated[Any, Choice("mean") | Number()] = "mean"
    output: Annotated[str, Choice(*OUTPUTS)] = "probability"
    error_target: Annotated[float | None, Above(0)] = None
    precision: Annotated[str, Choice(*PASS_PRECISIONS)] = "fp32"
    result: ClassVar = HeatMaps
    scope: ClassVar = "image"
    takes: ClassVar = frozenset({"pixels", "classes", "filters"})
    default_layer: ClassVar = INPUT

    def explain(self, batch: Batch) -> LayerMaps:
        """Explain each image for all its targets with the same masked passes; every image has the same random draws.

        The scores of each map are ``error``, the root mean square of the standard errors of the values, as part of
        their range; ``samples``, the number of coalitions; ``base``, the output where all is hidden; and
        ``superpixels``, their number.
        """
        explain = partial(self._explain_image, batch)
        maps = explain_images(batch, "kernel_shap", self.output, self.precision, explain)
        unit = f"Shapley value: the superpixel's share of the {output_name(self.output, batch.targets)}"
        return stack_images(maps, unit, batch.images.device)

    def _explain_image(self, batch: Batch, passes: MaskedPasses, number: int) -> ImageMaps:
        image = batch.images[number]
        features = image_features(
            image, self.superpixels, segments=self.segments, compactness=self.compactness, fill=self.fill
        )
        if len(features) < 40 and 2 ** len(features) <= self.samples:
            coalitions = all_coalitions(len(features))
            values = passes(image, features.masks(coalitions), features.fill)
            exact = shapley_values(values)
            base, estimate = values[0], ShapleyEstimate(exact, torch.zeros_like(exact))
        else:
            base, coalitions, estimate = self._estimate(passes, batch, number, features)
        columns = passes.columns(number, base[None])
        shares, errors = estimate.values[:, columns], estimate.errors[:, columns]
        scores = {
            "error": relative_error(shares.T, errors.T),
            "samples": torch.full((len(columns),), len(coalitions)),
            "base": base[columns],
            "superpixels": torch.full((len(columns),), len(features)),
        }
        scores |= bf16_difference(passes, image, next(features.masks(coalitions)), features.fill, columns)
        return ImageMaps(features.paint(shares), scores, features.paint(errors))

    def _estimate(
        self, passes: MaskedPasses, batch: Batch, number: int, features: Features
    ) -> tuple[Tensor, Tensor, ShapleyEstimate]:
        """Return the scores [K] of the hidden image, the coalitions, and the estimate for all labels."""
        image, generator = batch.images[number], batch.generator("explainer/kernel_shap")
        ends = passes(image, features.masks(torch.eye(2)[:, :1].flip(0).expand(2, len(features))), features.fill)
        columns = passes.columns(number, ends)
        drawn = paired_coalitions(max(self.samples // 2, 1), len(features), generator)
        gains = ends[:0]
        for chunk in drawn.split(MASKS_PER_CHUNK):
            gains = torch.cat([gains, passes(image, features.masks(chunk), features.fill) - ends[0]])
            if self.error_target is not None and len(gains) >= 4 * len(features):
                estimate = estimate_shapley(drawn[: len(gains)], gains, ends[1] - ends[0])
                error = relative_error(estimate.values[:, columns].T, estimate.errors[:, columns].T)
                if bool((error < self.error_target).all()):
                    break
        coalitions = drawn[: len(gains)]
        return ends[0], coalitions, estimate_shapley(coalitions, gains, ends[1] - ends[0])
