"""Integrated gradients: the gradient averaged between a baseline and the image (Sundararajan et al. 2017).

``(x - b) * mean of ∂ logit / ∂ x at b + a (x - b)`` over ``a`` from 0 to 1 (arXiv:1703.01365), summed over the
channels. The values of a map add up to the logit of the image less that of the baseline (completeness); the error of
the quadrature is reported as ``completeness_gap``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Annotated, ClassVar

import numpy as np
import torch
from torch import Tensor

from fervis.core.knobs import Choice, Range, Whole
from fervis.core.layers import INPUT
from fervis.core.results import HeatMaps, LayerMaps
from fervis.models.batch import Batch
from fervis.system.progress import progress

POINTS_PER_PASS = 64


@dataclass
class IntegratedGradients:
    """Integrate the gradient by a quadrature along the straight line from the baseline.

    Attributes:
        steps: gradients per image and target.
        rule: ``gauss_legendre``, which is exact for polynomials of degree 2 * steps - 1 and so needs few steps, or
            ``midpoint``, equal steps.
        baseline: value of every pixel of the baseline; 0 is black.
    """

    steps: Annotated[int, Whole(1, 1000)] = 50
    rule: Annotated[str, Choice("gauss_legendre", "midpoint")] = "gauss_legendre"
    baseline: Annotated[float, Range(0, 1)] = 0.0
    result: ClassVar = HeatMaps
    scope: ClassVar = "image"
    takes: ClassVar = frozenset({"pixels", "classes", "filters"})
    default_layer: ClassVar = INPUT

    def explain(self, batch: Batch) -> LayerMaps:
        """Explain the pixels of each image for all its targets, with shared points of the line."""
        points, weights = quadrature(self.rule, self.steps)
        maps, gaps = [], []
        for number in progress(range(len(batch)), "integrated_gradients", "face", quiet=batch.quiet):
            image = batch.part(slice(number, number + 1))
            baseline = torch.full_like(image.images, self.baseline)
            averaged = self._averaged_gradients(image, baseline, points, weights)
            contributions = averaged * (image.images - baseline)[:, None]
            maps.append(contributions.sum(2))
            gaps.append(contributions.flatten(2).sum(2) - _differences(image, baseline))
        scores = {"completeness_gap": torch.cat(gaps).abs()}
        return LayerMaps({INPUT: torch.cat(maps)}, "{layer} - baseline, × mean ∂ logit / ∂ {layer}", True, scores)

    def _averaged_gradients(self, batch: Batch, baseline: Tensor, points: Tensor, weights: Tensor) -> Tensor:
        """Return the weighted mean [1,T,C,H,W] of the gradients of one image at all points of the line."""
        total = torch.zeros(1, batch.targets.count, *batch.images.shape[1:], device=batch.images.device)
        for chunk, chunk_weights in zip(points.split(POINTS_PER_PASS), weights.split(POINTS_PER_PASS), strict=True):
            position = chunk.to(batch.images)[:, None, None, None]
            line = baseline + position * (batch.images - baseline)
            at_points = batch.with_images(line, batch.targets.repeat(len(chunk)))
            for target_pass in at_points.gradients():
                weighted = target_pass.gradients[INPUT] * chunk_weights.to(batch.images)[:, None, None, None]
                total[0, target_pass.target] += weighted.sum(0)
        return total


@cache
def quadrature(rule: str, steps: int) -> tuple[Tensor, Tensor]:
    """Return points in (0, 1) and weights that sum to 1 of a quadrature, both [steps] float64."""
    if rule == "midpoint":
        return (torch.arange(steps, dtype=torch.float64) + 0.5) / steps, torch.full((steps,), 1 / steps).double()
    points, weights = np.polynomial.legendre.leggauss(steps)
    return torch.from_numpy((points + 1) / 2), torch.from_numpy(weights / 2)


def _differences(batch: Batch, baseline: Tensor) -> Tensor:
    """Return [1,T] each target's value at the image less that at the baseline."""
    both = batch.with_images(torch.cat([batch.images, baseline]), batch.targets.repeat(2))
    values = [target_pass.scores for target_pass in both.gradients()]
    return torch.stack([value[:1] - value[1:] for value in values], 1)
