"""LIME on superpixels that suit small faces (Ribeiro, Singh and Guestrin 2016, arXiv:1602.04938).

Parts of the face are hidden at random, the network scores every such face, and a linear model that is fitted to these
scores near the whole face tells how much each part counts. Distance, kernel and regression are those of the lime
package: with the same superpixels and the same samples the coefficients are the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor, nn

from fervis.core.layers import INPUT, Layer
from fervis.core.results import HeatMaps
from fervis.core.targets import Target
from fervis.errors import ConfigError
from fervis.explainers.perturbation.superpixels import SEGMENTATIONS, segment_means, superpixels
from fervis.explainers.perturbation.surrogate import Surrogate, bernoulli_samples, fit_ridge, keep_top, kernel_weights
from fervis.metrics.similarity import spearman
from fervis.models.masking import (
    OUTPUTS,
    PASS_PRECISIONS,
    check_choice,
    class_column,
    duplicate_groups,
    masked_scores,
    masks_from_segments,
)
from fervis.system.progress import progress

STABILITY_SEEDS = 2**62


def explain_with_lime(
    model: nn.Module,
    image: Tensor,
    target: Target,
    segments: Tensor,
    samples: Tensor,
    *,
    fill: float | None = None,
    output: str = "probability",
    kernel_width: float = 0.25,
    alpha: float = 1.0,
    precision: str = "fp32",
) -> Surrogate:
    """The linear model of every label near an image.

    Args:
        model: network from images to [N,K] logits.
        image: [C,H,W] float.
        target: the classes, or a filter, which is a single label.
        segments: [H,W] int64, each pixel's superpixel, 0 .. d-1.
        samples: [S,d] of zeros (hidden) and ones (shown).
        fill: pixel value of what is hidden; None for its superpixel's mean.
        output: ``probability`` or ``logit``.
        kernel_width: how fast a sample's weight falls with its distance from the whole image.
        alpha: of the ridge regression.
        precision: of the network's passes, ``fp32`` or ``bf16``.

    Returns:
        Coefficients [d,K], intercepts and weighted R² [K], in the output's unit.
    """
    behind = segment_means(image, segments) if fill is None else torch.full_like(image, fill)
    shown = masks_from_segments(samples.to(image.device), segments.to(image.device))
    values = masked_scores(model, image, shown, behind, target, output=output, precision=precision)
    return fit_ridge(samples, values, kernel_weights(samples, kernel_width), alpha)


@dataclass
class Lime:
    """The knobs of ``lime``.

    Attributes:
        superpixels: ``slic``, ``grid`` or ``parts`` (see fervis.explainers.perturbation.superpixels).
        segments: about how many superpixels; of ``slic`` and ``grid``.
        compactness: of ``slic``.
        samples: masked faces a face.
        fill: what hides a superpixel: ``mean``, its own mean, or a pixel value.
        output: what is explained of a class: its ``probability`` or its ``logit``.
        kernel_width: how fast a sample's weight falls with its distance from the whole face.
        alpha: of the ridge regression.
        top: how many of the strongest superpixels are kept in the map; 0 for all.
        repeats: further seeds over which the stability is measured; 0 for none.
        precision: of the network's passes: ``fp32``, or ``bf16``: faster, and weights move by about 1 % of the largest.
    """

    superpixels: str = "slic"
    segments: int = 40
    compactness: float = 10.0
    samples: int = 1000
    fill: Any = "mean"
    output: str = "probability"
    kernel_width: float = 0.25
    alpha: float = 1.0
    top: int = 0
    repeats: int = 2
    precision: str = "fp32"
    kind: ClassVar[str] = HeatMaps.kind
    default_layer: ClassVar[str] = INPUT
    uses_layers: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_choice("superpixels", self.superpixels, SEGMENTATIONS)
        check_choice("output", self.output, OUTPUTS)
        check_choice("precision", self.precision, PASS_PRECISIONS)
        if self.fill != "mean" and (isinstance(self.fill, bool) or not isinstance(self.fill, int | float)):
            raise ConfigError(f"explainer.fill={self.fill}: expected mean or a pixel value such as 0.5.")
        for name, least in (("segments", 2), ("samples", 2), ("top", 0), ("repeats", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"explainer.{name}={getattr(self, name)}: expected a whole number from {least}.")
        for name in ("compactness", "kernel_width", "alpha"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"explainer.{name}={getattr(self, name)}: expected a number above 0.")

    def explain(
        self, model: nn.Module, images: Tensor, target: Target, layer: Layer | None, generator: Generator
    ) -> HeatMaps:
        """Explain [N,C,H,W] images; every image meets the same draws, and equal images are scored once.

        The scores of each map are ``r2``, how well the linear model fits (1: exactly), ``stability``, the mean rank
        correlation of its weights with those from further samples (0 where a weight is as good as another), and
        ``superpixels``, their number.
        """
        if layer is not None:
            raise ConfigError(
                f"layer={layer.name}: LIME hides parts of the face, so it works on the pixels; ask with layer=input."
            )
        # One after the other, so that more repeats do not change the first.
        seeds = [int(torch.randint(STABILITY_SEEDS, (), generator=generator)) for _ in range(1 + self.repeats)]
        maps = images.new_zeros((len(images), *images.shape[2:]), dtype=torch.float32)
        told: dict[str, Tensor] = {name: torch.zeros(len(images)) for name in ("r2", "stability", "superpixels")}
        for group in progress(duplicate_groups(images), "lime", "face"):
            image = images[group[0]]
            segments = superpixels(image, self.superpixels, segments=self.segments, compactness=self.compactness)
            fits = [self._fit(model, image, target, segments, seed) for seed in seeds]
            for here in group:
                label = class_column(target, here, fits[0].coefficients)
                first, *others = (fit.coefficients[:, label] for fit in fits)
                maps[here] = keep_top(first, self.top).float()[segments].to(maps)
                told["r2"][here] = fits[0].r2[label]
                told["superpixels"][here] = len(first)
                if others:
                    alike_in_rank = spearman(first.expand(len(others), -1), torch.stack(others))
                    told["stability"][here] = alike_in_rank.nan_to_num(0).mean()
        if not self.repeats:
            del told["stability"]
        return HeatMaps(maps, self._unit(target), signed=True, scores=told)

    def _fit(self, model: nn.Module, image: Tensor, target: Target, segments: Tensor, seed: int) -> Surrogate:
        draws = Generator().manual_seed(seed)
        samples = bernoulli_samples(self.samples, int(segments.max()) + 1, draws)
        fill = None if self.fill == "mean" else float(self.fill)
        return explain_with_lime(
            model,
            image,
            target,
            segments,
            samples,
            fill=fill,
            output=self.output,
            kernel_width=self.kernel_width,
            alpha=self.alpha,
            precision=self.precision,
        )

    def _unit(self, target: Target) -> str:
        what = self.output if target.classes is not None else "filter's mean output"
        return f"LIME weight: what showing the superpixel adds to the {what}"
