"""Integrated gradients: the gradient averaged between a baseline and the image (Sundararajan et al. 2017).

``(x - b) * mean of ∂ logit / ∂ x at b + a (x - b)`` over ``a`` from 0 to 1 (arXiv:1703.01365), summed over the
channels. The values of a map add up to the logit of the image less that of the baseline (completeness); by how much the
quadrature misses it is reported as ``completeness_gap``.

Along the line a rectifier network's slope is constant between many kinks, so no rule of higher order gains anything
over equal steps. What helps is that the sum is known: of all weights of the points that meet it, ``fit`` takes those
nearest to equal ones. With weights ``w``, slopes ``s`` (gradient times x - b at each point) and the missing part ``r``,

    minimize Σ (v - w)² / w  so that  Σ v = 1, Σ v s = Σ w s + r    =>    v = w (1 + (s - m) r / Σ w (s - m)²)

with m = Σ w s. No weight changes by more than half of itself; ``quadrature_gap`` is the gap before the fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Annotated, ClassVar

import numpy as np
import torch
from torch import Tensor

from fervis.core.knobs import Choice, Whole
from fervis.core.layers import INPUT
from fervis.core.results import HeatMaps, LayerMaps
from fervis.explainers.gradient import lines
from fervis.explainers.gradient.lines import BASELINE_CHOICES, baseline_images, maps_at, parts_of_passes
from fervis.models.batch import Batch
from fervis.system.progress import progress

_LARGEST_CHANGE = 0.5  # of a weight by the fit, relative
_EQUAL_SLOPES = 1e-10  # slopes of less relative variance are equal in 32 bits: no weights change their sum


@dataclass
class IntegratedGradients:
    """Integrate the gradient by a quadrature along the straight line from the baseline.

    Attributes:
        steps: gradients per image and target.
        rule: points and their weights: ``midpoint``, equal steps; or ``gauss_legendre``, which is exact for polynomials
            of degree 2 * steps - 1 and so the better one for smooth networks.
        fit: change the weights as little as possible so that a map adds up to what the logit gains.
        baseline: where the line begins: the value of every pixel, 0 being black; ``mean``, the mean of the images of
            reference (of a run, of its training faces); or ``blur``, the image itself without its details.
    """

    steps: Annotated[int, Whole(1, 1000)] = 20
    rule: Annotated[str, Choice("midpoint", "gauss_legendre")] = "midpoint"
    fit: bool = True
    baseline: Annotated[float | str, BASELINE_CHOICES] = 0.0
    result: ClassVar = HeatMaps
    scope: ClassVar = "image"
    takes: ClassVar = frozenset({"pixels", "classes", "filters"})
    default_layer: ClassVar = INPUT

    def explain(self, batch: Batch) -> LayerMaps:
        """Explain the pixels of several images at once, for all their targets at shared points of their lines."""
        baselines = baseline_images(batch, self.baseline)
        parts = progress(parts_of_passes(len(batch), self.steps), "integrated_gradients", "pass", quiet=batch.quiet)
        found = [self._explain(batch.part(part), baselines[part]) for part in parts]
        maps, gaps, raw = (torch.cat(values) for values in zip(*found, strict=True))
        scores = {"completeness_gap": gaps.abs(), "quadrature_gap": raw.abs()}
        return LayerMaps({INPUT: maps}, "{layer} - baseline, × mean ∂ logit / ∂ {layer}", True, scores)

    def _explain(self, batch: Batch, baselines: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return maps [N,T,H,W], and by how much [N,T] they exceed the logits' gain, after the fit and before it."""
        positions, weights = (values.to(batch.images) for values in quadrature(self.rule, self.steps))
        maps = _maps_along_lines(batch, baselines, positions)  # [N,S,T,H,W]
        slopes = maps.flatten(3).double().sum(3)
        gains = _logit_gains(batch, baselines).double()
        weights = weights.double()[None, :, None].expand_as(slopes)
        fitted = fit_weights(weights, slopes, gains) if self.fit else weights
        weighted = torch.einsum("nst,nsthw->nthw", fitted.to(maps), maps)
        before = (weights * slopes).sum(1) - gains
        return weighted, weighted.flatten(2).double().sum(2) - gains, before


@cache
def quadrature(rule: str, steps: int) -> tuple[Tensor, Tensor]:
    """Return points in (0, 1) and weights that sum to 1 of a quadrature, both [steps] float64."""
    if rule == "midpoint":
        return (torch.arange(steps, dtype=torch.float64) + 0.5) / steps, torch.full((steps,), 1 / steps).double()
    points, weights = np.polynomial.legendre.leggauss(steps)
    return torch.from_numpy((points + 1) / 2), torch.from_numpy(weights / 2)


def fit_weights(weights: Tensor, slopes: Tensor, gains: Tensor) -> Tensor:
    """Change weights as little as possible so that the weighted slopes add up to the gains.

    Args:
        weights: [N,S,T] positive, of sum 1 over the S points.
        slopes: [N,S,T].
        gains: [N,T].
    """
    mean = (weights * slopes).sum(1, keepdim=True)
    spread = (weights * (slopes - mean).square()).sum(1, keepdim=True)
    differ = spread > _EQUAL_SLOPES * (weights * slopes.square()).sum(1, keepdim=True)
    change = torch.where(differ, (slopes - mean) * (gains[:, None] - mean) / spread, 0)
    largest = change.abs().amax(1, keepdim=True)
    return weights * (1 + change * (_LARGEST_CHANGE / largest.clamp(min=_LARGEST_CHANGE)))


def _maps_along_lines(batch: Batch, baselines: Tensor, positions: Tensor) -> Tensor:
    """Return (x - b) · gradient at points of each image's line, summed over channels.

    Args:
        batch: N images.
        baselines: [N,C,H,W].
        positions: [S] of the points, from 0 at the baseline to 1 at the image.

    Returns:
        [N,S,T,H,W].
    """
    differences = batch.images - baselines
    parts = []
    for chunk in positions.split(lines.POINTS_PER_PASS):
        line = baselines[:, None] + chunk[:, None, None, None] * differences[:, None]
        parts.append(maps_at(batch, line, differences[:, None]))
    return torch.cat(parts, 1)


def _logit_gains(batch: Batch, baselines: Tensor) -> Tensor:
    """Return [N,T] each target's value at the image less that at the baseline."""
    both = batch.with_images(torch.stack([batch.images, baselines], 1).flatten(0, 1), batch.targets.repeat(2))
    values = both.target_values().unflatten(0, (-1, 2))
    return values[:, 0] - values[:, 1]
