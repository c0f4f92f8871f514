"""What explainers return: plain results of a few kinds, un-normalised. The kind chooses the visualizer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from fervis.faces import Faces


@dataclass(frozen=True)
class HeatMaps:
    """One map a face: how much each pixel counts, in the method's own unit.

    Attributes:
        maps: [N,H,W] float32 at the faces' size, un-normalised.
        unit: what a value is, in words for a colour bar, such as ``|d logit / d pixel|``.
        layer_unit: ``unit`` in words that hold at every layer, where it names one; for maps of several layers.
        signed: whether negative values mean the opposite of positive ones (or the maps are magnitudes).
        pixel_maps: [N,H,W] float32, the same method at the pixels where ``maps`` are of an inner layer, or None.
        pixel_unit: as ``unit``, of ``pixel_maps``.
    """

    maps: Tensor
    unit: str
    signed: bool = False
    pixel_maps: Tensor | None = None
    pixel_unit: str = ""
    layer_unit: str = ""
    kind: ClassVar[str] = "heatmaps"


def joined(results: Sequence[HeatMaps]) -> HeatMaps:
    """The results of several batches, or of several layers, as one."""
    pixels = [result.maps if result.pixel_maps is None else result.pixel_maps for result in results]
    inner = any(result.pixel_maps is not None for result in results)
    same = len({result.unit for result in results}) == 1
    return replace(
        results[0],
        maps=torch.cat([result.maps for result in results]),
        unit=results[0].unit if same else results[0].layer_unit or results[0].unit,
        pixel_maps=torch.cat(pixels) if inner else None,
        pixel_unit=next((result.pixel_unit for result in results if result.pixel_unit), ""),
    )


@dataclass(frozen=True)
class Explanation:
    """An explainer's result with what a reader must know of it: N entries, one a face, layer and target.

    Attributes:
        result: the N results, of one kind.
        faces: the N faces (a face explained at two layers stands twice).
        layers: N layer names, ``input`` for the pixels.
        targets: N names of what is explained: a class, or ``conv7/4`` for a filter.
        predictions: [N] int64, index of the predicted class.
        probabilities: [N,K] float32, softmax over the classes.
        classes: names of the network's K classes.
        explainer: name of the method, as in the config.
        model: name of the network, as in the config.
        dataset: name of the data set, as in the config.
    """

    result: HeatMaps
    faces: Faces
    layers: tuple[str, ...]
    targets: tuple[str, ...]
    predictions: Tensor
    probabilities: Tensor
    classes: tuple[str, ...]
    explainer: str
    model: str
    dataset: str


@dataclass(frozen=True)
class Figure:
    """A picture file and what it shows, in a sentence that can stand in for it."""

    path: Path
    caption: str
