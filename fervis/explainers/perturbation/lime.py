"""LIME on superpixels that suit small faces (Ribeiro, Singh and Guestrin 2016, arXiv:1602.04938).

Parts of the face are hidden at random, the network scores every such face, and the weights of a linear model, fitted to
these scores near the whole face, estimate the importance of each part. Distance, kernel and regression are those of the
lime package: with the same superpixels and the same samples the coefficients are the same. How sure they are follows
from the same samples: a standard error of each weight, and the stability of their order.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import partial
from typing import Annotated, Any, ClassVar

import torch
from torch import Generator, Tensor

from fervis.core.knobs import Above, Choice, Number, Whole
from fervis.core.layers import INPUT
from fervis.core.results import HeatMaps, LayerMaps
from fervis.explainers.perturbation.image_maps import (
    ImageMaps,
    bf16_difference,
    explain_images,
    output_name,
    relative_error,
    stack_images,
)
from fervis.explainers.perturbation.superpixels import SEGMENTATIONS, image_features
from fervis.explainers.perturbation.surrogate import (
    Surrogate,
    bernoulli_samples,
    fit_ridge,
    keep_top,
    kernel_weights,
    rank_correlation,
    split_half_stability,
)
from fervis.models.batch import Batch
from fervis.models.masking import OUTPUTS, PASS_PRECISIONS, MaskedPasses

STABILITY_SEEDS = 2**62
HALVINGS = 20  # of the samples into halves


@dataclass
class Lime:
    """Fit a linear model to the network's outputs for images of which superpixels are hidden.

    Attributes:
        superpixels: ``slic``, ``grid``, ``parts`` or ``areas`` (see ``superpixels.py``).
        segments: about how many superpixels; of ``slic`` and ``grid``.
        compactness: of ``slic``.
        samples: masked images per image.
        fill: what hides a superpixel: ``mean``, its own mean, or a pixel value.
        output: what is explained of a class: its ``probability`` or its ``logit``.
        kernel_width: how fast a sample's weight falls with its distance from the whole image.
        alpha: of the ridge regression.
        top: number of the strongest superpixels that the map shows; 0 for all.
        repeats: further sets of samples over which the stability is measured; 0 to estimate it from the first.
        precision: of the network's passes: ``fp32``, or ``bf16``: faster, and weights move by about 1 % of the largest.
    """

    superpixels: Annotated[str, Choice(*SEGMENTATIONS)] = "slic"
    segments: Annotated[int, Whole(2)] = 40
    compactness: Annotated[float, Above(0)] = 10.0
    samples: Annotated[int, Whole(2, 10_000_000)] = 1000
    fill: Annotated[Any, Choice("mean") | Number()] = "mean"
    output: Annotated[str, Choice(*OUTPUTS)] = "probability"
    kernel_width: Annotated[float, Above(0)] = 0.25
    alpha: Annotated[float, Above(0)] = 1.0
    top: Annotated[int, Whole(0)] = 0
    repeats: Annotated[int, Whole(0)] = 0
    precision: Annotated[str, Choice(*PASS_PRECISIONS)] = "fp32"
    result: ClassVar = HeatMaps
    scope: ClassVar = "image"
    takes: ClassVar = frozenset({"pixels", "classes", "filters"})
    default_layer: ClassVar = INPUT

    def explain(self, batch: Batch) -> LayerMaps:
        """Explain each image for all its targets with the same masked passes; every image has the same random draws.

        Errors are the standard errors of the weights. The scores of each map are ``r2``, the coefficient of
        determination of the linear model; ``stability``, the rank correlation of its weights with those of other
        samples (0 where all weights are equal): estimated from halves of the samples, or the mean over ``repeats``
        further sets; ``error``, the root mean square of the standard errors, as part of the range of the weights; and
        ``superpixels``, their number.
        """
        generator = batch.generator("explainer/lime")
        # Drawn one by one, so that more repeats do not change the first.
        seeds = [int(torch.randint(STABILITY_SEEDS, (), generator=generator)) for _ in range(1 + self.repeats)]
        splits = torch.rand(HALVINGS, self.samples, generator=batch.generator("explainer/lime/splits")).argsort(1)
        explain = partial(self._explain_image, batch, seeds, splits)
        maps = explain_images(batch, "lime", self.output, self.precision, explain)
        unit = f"LIME weight: what showing the superpixel adds to the {output_name(self.output, batch.targets)}"
        return stack_images(maps, unit, batch.images.device)

    def _explain_image(
        self, batch: Batch, seeds: list[int], splits: Tensor, passes: MaskedPasses, number: int
    ) -> ImageMaps:
        image = batch.images[number]
        features = image_features(
            image, self.superpixels, segments=self.segments, compactness=self.compactness, fill=self.fill
        )
        drawn = [bernoulli_samples(self.samples, len(features), Generator().manual_seed(seed)) for seed in seeds]
        values = [passes(image, features.masks(samples), features.fill) for samples in drawn]
        columns = passes.columns(number, values[0])
        weights = kernel_weights(drawn[0], self.kernel_width)
        first, *others = (self._fit(*pair, columns) for pair in zip(drawn, values, strict=True))
        if others:
            ranks = [rank_correlation(first.coefficients, other.coefficients) for other in others]
            stability = torch.stack(ranks).mean(0)
        else:
            stability = split_half_stability(drawn[0], values[0][:, columns], weights, self.alpha, splits)
        scores = {
            "r2": first.r2,
            "stability": stability,
            "error": relative_error(first.coefficients.T, first.errors.T),
            "superpixels": torch.full_like(first.r2, len(features)),
        }
        scores |= bf16_difference(passes, image, next(features.masks(drawn[0])), features.fill, columns)
        top = keep_top(first.coefficients, self.top)
        errors = torch.where(top == first.coefficients, first.errors, 0)
        return ImageMaps(features.paint(top), scores, features.paint(errors))

    def _fit(self, samples: Tensor, values: Tensor, columns: list[int]) -> Surrogate:
        # All labels are fitted, so that a map does not depend, in its last digit, on the targets next to it.
        fit = fit_ridge(samples, values, kernel_weights(samples, self.kernel_width), self.alpha)
        return Surrogate(*(getattr(fit, part.name)[..., columns] for part in fields(fit)))
