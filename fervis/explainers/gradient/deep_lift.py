"""DeepLIFT: each pixel's difference from a baseline times its multiplier, by the rescale rule (Shrikumar et al. 2017).

The multiplier (arXiv:1704.02685) is the gradient with every activation's derivative replaced by its mean slope between
baseline and image, so that one backward pass does what integrated gradients take many for. Summed over the channels,
the values of a map add up to the logit of the image less that of the baseline; by how much they miss it is reported as
``completeness_gap``: rounding for networks of affine layers, activations, max pooling, gates and LayerNorm
(``rescale.py``), more where softmax or GroupNorm pass their plain derivative.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch

from fervis.core.layers import INPUT
from fervis.core.results import HeatMaps, LayerMaps
from fervis.explainers.gradient.lines import BASELINE_CHOICES, baseline_images
from fervis.explainers.gradient.passes import maps_of_targets, pixel_layer
from fervis.explainers.gradient.rescale import Multipliers
from fervis.models.batch import Batch


@dataclass
class DeepLift:
    """Compute contributions of pixels by the rescale rule.

    Attributes:
        baseline: what images are compared with: the value of every pixel, 0 being black; ``mean``, the mean of the
            reference images (of a run, its training faces); or ``blur``, the image itself without its details.
    """

    baseline: Annotated[float | str, BASELINE_CHOICES] = 0.0
    result: ClassVar = HeatMaps
    scope: ClassVar = "image"
    takes: ClassVar = frozenset({"pixels", "classes", "filters"})
    default_layer: ClassVar = INPUT

    def explain(self, batch: Batch) -> LayerMaps:
        """Explain the pixels in two forward passes (baselines, images) and one backward pass per target."""
        baselines = baseline_images(batch, self.baseline)
        multipliers = Multipliers()
        with multipliers:
            base_values = batch.with_images(baselines).target_values()
        difference = batch.images - baselines
        passes = list(batch.gradients(multipliers, (pixel_layer(batch),)))
        maps = maps_of_targets(passes, lambda _, slopes: (difference * slopes).sum(1))
        gains = torch.stack([one.scores for one in passes], 1) - base_values
        gaps = (maps[INPUT].flatten(2).double().sum(2) - gains).abs()
        unit = "({layer} - baseline) × Δ logit / Δ {layer}"
        return LayerMaps(maps, unit, True, {"completeness_gap": gaps})
