"""Expected gradients: integrated gradients averaged over real images as baselines (Erion et al. 2021).

``E[(x - b) * ∂ logit / ∂ x at b + a (x - b)]`` over reference images ``b`` and ``a`` uniform in [0, 1]
(arXiv:1906.10670), summed over the channels. Unlike a black baseline, for which dark pixels contribute 0, real faces as
baselines ask what sets a face apart from others. The values of a map add up to the logit of the image less the mean
logit of the references in expectation; by how much the samples miss it is reported as ``completeness_gap``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Generator, Tensor

from fervis.core.knobs import Whole
from fervis.core.layers import INPUT
from fervis.core.results import HeatMaps, LayerMaps
from fervis.explainers.gradient import lines
from fervis.explainers.gradient.lines import maps_at, parts_of_passes
from fervis.models.batch import Batch
from fervis.system.progress import progress


@dataclass
class ExpectedGradients:
    """Average over pairs of a reference and a point of the line from it to the image.

    The references are those of the batch: a run's training faces, ``background=`` of ``fervis.explain``, else the
    explained images themselves. None is drawn a second time before all are.

    Attributes:
        samples: pairs per image, the same for every image.
    """

    samples: Annotated[int, Whole(1)] = 100
    result: ClassVar = HeatMaps
    scope: ClassVar = "image"
    takes: ClassVar = frozenset({"pixels", "classes", "filters"})
    default_layer: ClassVar = INPUT

    def explain(self, batch: Batch) -> LayerMaps:
        """Explain the pixels of several images at once, for all their targets at shared points."""
        generator = batch.generator("explainer/expected_gradients")
        index, positions = reference_samples(self.samples, batch.reference_count(), generator)
        references = batch.reference_images(index)
        parts = progress(parts_of_passes(len(batch), self.samples), "expected_gradients", "pass", quiet=batch.quiet)
        maps = torch.cat([_mean_map(batch.part(part), references, positions.to(references)) for part in parts])
        gains = batch.target_values() - _mean_values(batch, references)
        gaps = (maps.flatten(2).double().sum(2) - gains).abs()
        unit = "({layer} - reference) × ∂ logit / ∂ {layer}, mean over references"
        return LayerMaps({INPUT: maps}, unit, True, {"completeness_gap": gaps})


def reference_samples(samples: int, references: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Draw pairs: [S] numbers of references, each as often as the others, and [S] points of the line.

    The points are stratified, one in each of S equal parts of [0, 1], in random order: as uniform as independent ones,
    but of less variance.
    """
    rounds = -(-samples // references)
    index = torch.cat([torch.randperm(references, generator=generator) for _ in range(rounds)])[:samples]
    strata = torch.randperm(samples, generator=generator)
    return index, (strata + torch.rand(samples, generator=generator)) / samples


def _mean_map(batch: Batch, references: Tensor, positions: Tensor) -> Tensor:
    """Return [N,T,H,W]: the mean over all pairs."""
    total = torch.zeros((), device=references.device)
    chunks = (values.split(lines.POINTS_PER_PASS) for values in (references, positions))
    for some, places in zip(*chunks, strict=True):
        differences = batch.images[:, None] - some
        points = some + places[:, None, None, None] * differences
        total = total + maps_at(batch, points, differences).sum(1)
    return total / len(references)


def _mean_values(batch: Batch, references: Tensor) -> Tensor:
    """Return [N,T], or what broadcasts to it: the mean over the references of each image's targets."""
    if batch.targets.classes is None:
        return batch.with_images(references).target_values().mean(0)
    means = batch.score(references.split(lines.POINTS_PER_PASS)).mean(0)
    return means[batch.targets.classes].to(references.device)
