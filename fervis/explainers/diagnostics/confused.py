"""Confused faces: why a network takes faces of one class for another, region by region.

A cell of the confusion matrix holds the faces of one label that are taken for another class. Each region of each of
these faces is hidden, and the change of the margin, the target's logit less that of the other class, says for which of
the two the region speaks: beyond what random patches of the same area on the face do, since hiding anything changes a
network's output. A region that flips the prediction to the label is what the mistake hangs on. The faces of both
classes that are predicted right are measured likewise, for comparison. Contrast maps (Zhang et al. 2025,
arXiv:2501.11309) show on the faces themselves what speaks for each class.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from fervis.core.intervals import Interval
from fervis.core.knobs import Choice, Text, Whole
from fervis.core.layers import resize_maps
from fervis.core.registry import build_plugin
from fervis.core.results import ExplainerOutput, RegionContrasts, join_results
from fervis.core.targets import class_targets, contrasted_class
from fervis.datasets.landmarks.regions import face_regions
from fervis.explainers.diagnostics.cells import AUTO, Cell, LabelledFaces
from fervis.explainers.diagnostics.contrast_words import (
    cell_sentence,
    effect_sentences,
    right_sentence,
    template_sentence,
)
from fervis.explainers.diagnostics.groups import MeasuredGroup, other_of_pair
from fervis.explainers.diagnostics.region_effects import mean_effects, region_effects
from fervis.metrics.bootstrap import bootstrap_mean, resampled_counts
from fervis.models.batch import Batch
from fervis.models.hiding import Fill, fills_of

MAPS_AT_ONCE = 64  # faces
NUMBERS = [f"{name}{end}" for name in ("effect", "beyond", "flips") for end in ("", "/low", "/high")]
"""Means over the confused faces that are numbers of the run; the table has them all."""


@dataclass
class ConfusedFaces:
    """Measure which regions speak for which of two classes on the faces of a cell of the confusion matrix.

    Attributes:
        against: the class that faces of ``target=`` are taken for, by name or number; ``auto``: the one of the largest
            cell of the confusion matrix, as ``target=auto`` is.
        faces: most faces of the cell, and of each of the two classes predicted right.
        fill: what hides a region: ``mean``, the image's own mean of each channel, ``blur``, or ``inpaint``, the pixels
            around it (see ``linear_imputation``).
        blur: side in pixels, odd, of the box over which the image is averaged (twice); of ``blur``.
        patches: random patches on the face that each region is compared with.
        examples: faces shown of each region.
        resamples: number of bootstrap resamples.
    """

    against: Annotated[Any, Choice(AUTO) | Text("a class") | Whole(0)] = AUTO
    faces: Annotated[int, Whole(1, 5000)] = 100
    fill: Fill = "mean"
    blur: Annotated[int, Whole(1, 101)] = 11
    patches: Annotated[int, Whole(1, 1000)] = 4
    examples: Annotated[int, Whole(1, 50)] = 6
    resamples: Annotated[int, Whole(20)] = 2000
    result: ClassVar = RegionContrasts
    scope: ClassVar = "network"
    takes: ClassVar = frozenset({"layers", "classes"})
    default_layer: ClassVar = "last_conv"

    def check_network(self, model: Any, image: Tensor) -> None:
        """Refuse a class that the network does not have, before a training."""
        if self.against != AUTO and hasattr(model, "classes"):
            contrasted_class(self.against, model.classes)

    def explain(self, batch: Batch) -> ExplainerOutput:
        """Return the effects of every region on the confused faces and on those predicted right, at every layer.

        Layers differ in the contrast maps alone. ``numbers`` holds the share of the target's faces that are confused,
        and the effects of each region on these.

        Raises:
            ConfigError: no such class, or the network takes no face of the target for the other class.
        """
        labelled = LabelledFaces.of(batch)
        confused = labelled.confused(batch.target, self.against)
        pair = (confused.label, confused.predicted)
        right = [labelled.cell(number, number) for number in pair]
        groups = [self._measured(batch, cell, pair) for cell in (confused, *right) if len(cell.positions)]
        share, count = self._share(batch, labelled, confused)
        maps = [self._maps(batch, group) for group in groups]
        words = [cell_sentence(groups[0], count, share, batch.split), *map(right_sentence, groups[1:])]
        parts = []
        for layer in batch.layers:
            for group, of_group, first in zip(groups, maps, words, strict=True):
                sentence = " ".join(filter(None, (first, effect_sentences(group), template_sentence(group))))
                parts.append(group.entries(of_group[layer.name], self.examples, sentence))
        result = join_results(parts)
        entries = len(result.regions) // len(batch.layers)
        names = " against ".join(batch.classes[number] for number in pair)
        return ExplainerOutput(
            result,
            tuple(layer.name for layer in batch.layers for _ in range(entries)),
            (names,) * len(result.regions),
            numbers=_confused_numbers(groups[0], share, count),
        )

    def _measured(self, batch: Batch, cell: Cell, pair: tuple[int, int]) -> MeasuredGroup:
        """Hide the regions of a cell's faces; of many, of some drawn at random."""
        order = torch.randperm(len(cell.positions), generator=batch.generator("explainer/confused"))
        positions = cell.positions[order[: self.faces].sort().values]
        pool = batch.pool[positions]
        images = pool.to(batch.images.device)
        images = images if images.is_floating_point() else images.float() / 255
        truth = None if batch.data is None else batch.data.split(batch.split).truth
        regions = face_regions(images, truth and truth.take(positions))
        draws = torch.rand(self.patches, generator=batch.generator("explainer/confused/patches"))
        given = batch.with_images(images, class_targets([pair[0]] * len(images)))
        fill = fills_of(images, self.fill, self.blur)
        found = region_effects(given, regions, fill, draws, pair, cell.name(batch.classes))
        turned, generator = other_of_pair(pair, cell.predicted), batch.generator("explainer/confused/bootstrap")
        values, clear = mean_effects(found, pair, turned, self.resamples, generator)
        rows = batch.rows.cpu()[positions]
        return MeasuredGroup(cell, pair, tuple(batch.classes), pool.cpu(), rows, regions, found, values, clear)

    def _share(self, batch: Batch, labelled: LabelledFaces, cell: Cell) -> tuple[Interval, int]:
        """Return the share of the target's faces that are in the cell, and the number of the target's faces."""
        own = labelled.labels == cell.label
        hits = (labelled.predictions[own] == cell.predicted).double()
        generator = batch.generator("explainer/confused/share")
        return bootstrap_mean(hits, torch.cat(list(resampled_counts(len(hits), self.resamples, generator)))), len(hits)

    def _maps(self, batch: Batch, group: MeasuredGroup) -> dict[str, Tensor]:
        """Return contrast maps [n,H,W] by layer, of the faces that are shown; 0 for others."""
        chosen = torch.cat([group.examples(region, self.examples) for region in group.shown]).unique()
        height, width = (int(side) for side in batch.images.shape[2:])
        maps = {layer.name: torch.zeros(len(group.rows), height, width) for layer in batch.layers}
        target, other = group.pair
        method = build_plugin("explainer", "finer", against=batch.classes[other], strength=1.0, rectify=False)
        for index in chosen.split(MAPS_AT_ONCE):
            images = group.images[index].to(batch.images.device)
            images = images if images.is_floating_point() else images.float() / 255
            found = method.explain(batch.with_images(images, class_targets([target] * len(index)))).maps
            for name, of_layer in maps.items():
                of_layer[index] = resize_maps(found[name][:, 0].detach().float().cpu(), (height, width))
        return maps


def _confused_numbers(group: MeasuredGroup, share: Interval, labelled: int) -> dict[str, float]:
    """Return the size of the cell, and of each region the means over its faces, where they are known."""
    numbers = {"confused": float(len(group.cell.positions)), "labelled": float(labelled), "measured": len(group.rows)}
    numbers |= {"share": share.value, "share/low": share.low, "share/high": share.high}
    for name, region in zip(group.regions.names, group.shown, strict=True):
        numbers |= {f"{name}/{part}": float(group.values[part][region]) for part in NUMBERS}
    return {name: float(value) for name, value in numbers.items() if value == value}
