"""LIME on superpixels that suit small faces (Ribeiro, Singh and Guestrin 2016, arXiv:1602.04938).

Parts of the face are hidden at random, the network scores every such face, and the weights of a linear model, fitted to
these scores near the whole face, estimate the importance of each part. Distance, kernel and regression are those of the
lime package: with the same superpixels and the same samples the coefficients are the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from torch import Generator, Tensor, nn

from fervis.core.knobs import Above, Choice, Number, Whole
from fervis.core.layers import INPUT
from fervis.core.results import HeatMaps, LayerMaps
from fervis.core.targets import Targets
from fervis.explainers.perturbation.superpixels import SEGMENTATIONS, segment_means, superpixels
from fervis.explainers.perturbation.surrogate import Surrogate, bernoulli_samples, fit_ridge, keep_top, kernel_weights
from fervis.metrics.similarity import spearman
from fervis.models.batch import Batch
from fervis.models.masking import OUTPUTS, PASS_PRECISIONS, masked_scores, masks_from_segments, target_columns
from fervis.system.progress import progress

STABILITY_SEEDS = 2**62


def explain_with_lime(
    model: nn.Module,
    image: Tensor,
    targets: Targets,
    segments: Tensor,
    samples: Tensor,
    *,
    fill: float | None = None,
    output: str = "probability",
    kernel_width: float = 0.25,
    alpha: float = 1.0,
    precision: str = "fp32",
) -> Surrogate:
    """Fit the linear model of every label near an image.

    Args:
        model: network from images to [N,K] logits.
        image: [C,H,W] float.
        targets: the classes or filters; each is a label of the linear model.
        segments: [H,W] int64, each pixel's superpixel, 0 .. d-1.
        samples: [S,d] of zeros (hidden) and ones (shown).
        fill: pixel value of hidden superpixels; None for their own means.
        output: ``probability`` or ``logit``.
        kernel_width: how fast a sample's weight falls with its distance from the whole image.
        alpha: of the ridge regression.
        precision: of the network's passes, ``fp32`` or ``bf16``.

    Returns:
        Coefficients [d,K], intercepts and weighted R² [K], in the output's unit.
    """
    background = segment_means(image, segments) if fill is None else torch.full_like(image, fill)
    shown = masks_from_segments(samples.to(image.device), segments.to(image.device))
    values = masked_scores(model, image, shown, background, targets, output=output, precision=precision)
    return fit_ridge(samples, values, kernel_weights(samples, kernel_width), alpha)


@dataclass
class Lime:
    """Fit a linear model to the network's outputs for images of which superpixels are hidden.

    Attributes:
        superpixels: ``slic``, ``grid`` or ``parts`` (see ``superpixels.py``).
        segments: about how many superpixels; of ``slic`` and ``grid``.
        compactness: of ``slic``.
        samples: masked images per image.
        fill: what hides a superpixel: ``mean``, its own mean, or a pixel value.
        output: what is explained of a class: its ``probability`` or its ``logit``.
        kernel_width: how fast a sample's weight falls with its distance from the whole image.
        alpha: of the ridge regression.
        top: how many of the strongest superpixels are kept in the map; 0 for all.
        repeats: further seeds over which the stability is measured; 0 for none.
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
    repeats: Annotated[int, Whole(0)] = 2
    precision: Annotated[str, Choice(*PASS_PRECISIONS)] = "fp32"
    result: ClassVar = HeatMaps
    scope: ClassVar = "image"
    takes: ClassVar = frozenset({"pixels", "classes", "filters"})
    default_layer: ClassVar = INPUT

    def explain(self, batch: Batch) -> LayerMaps:
        """Explain each image for all its targets with the same masked passes; every image has the same random draws.

        The scores of each map are ``r2``, the coefficient of determination of the linear model, ``stability``, the mean
        rank correlation of its weights with those from further samples (0 where all weights are equal), and
        ``superpixels``, their number.
        """
        generator = batch.generator("explainer/lime")
        # Drawn one by one, so that more repeats do not change the first.
        seeds = [int(torch.randint(STABILITY_SEEDS, (), generator=generator)) for _ in range(1 + self.repeats)]
        maps, rows = [], []
        for number in progress(range(len(batch)), "lime", "face", quiet=batch.quiet):
            image = batch.images[number]
            segments = superpixels(image, self.superpixels, segments=self.segments, compactness=self.compactness)
            fits = [self._fit(batch, image, segments, seed) for seed in seeds]
            columns = target_columns(batch.targets, number, fits[0].coefficients)
            first, *others = (fit.coefficients[:, columns] for fit in fits)
            maps.append(torch.stack([keep_top(weights, self.top).float()[segments.cpu()] for weights in first.T]))
            rows.append(self._scores(first, others, fits[0].r2[columns]))
        scores = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
        stacked = torch.stack(maps).to(batch.images.device)
        return LayerMaps({INPUT: stacked}, self._unit(batch.targets), signed=True, scores=scores)

    def _fit(self, batch: Batch, image: Tensor, segments: Tensor, seed: int) -> Surrogate:
        draws = Generator().manual_seed(seed)
        samples = bernoulli_samples(self.samples, int(segments.max()) + 1, draws)
        fill = None if self.fill == "mean" else float(self.fill)
        return explain_with_lime(
            batch.model,
            image,
            batch.targets,
            segments,
            samples,
            fill=fill,
            output=self.output,
            kernel_width=self.kernel_width,
            alpha=self.alpha,
            precision=self.precision,
        )

    def _scores(self, weights: Tensor, others: list[Tensor], r2: Tensor) -> dict[str, Tensor]:
        """Return the scores of one image's maps, each [T]; weights are [d,T]."""
        scores = {"r2": r2.float()}
        if others:
            ranks = [spearman(weights.T.contiguous(), other.T.contiguous()).nan_to_num(0) for other in others]
            scores["stability"] = torch.stack(ranks).mean(0).float()
        return scores | {"superpixels": torch.full((len(r2),), float(len(weights)))}

    def _unit(self, targets: Targets) -> str:
        what = self.output if targets.classes is not None else "filter's mean output"
        return f"LIME weight: what showing the superpixel adds to the {what}"
