"""What explainers return: plain results of a few kinds, un-normalised. The kind chooses the visualizer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from torch import Tensor

from fervis.faces import Faces


@dataclass(frozen=True)
class HeatMaps:
    """One map a face: how much each pixel counts, in the method's own unit.

    Attributes:
        maps: [N,H,W] float32 at the faces' size, un-normalised.
        unit: what a value is, in words for a colour bar, such as ``|d logit / d pixel|``.
        signed: whether negative values mean the opposite of positive ones (or the maps are magnitudes).
        pixel_maps: [N,H,W] float32, the same method at the pixels where ``maps`` are of an inner layer, or None.
        pixel_unit: as ``unit``, of ``pixel_maps``.
    """

    maps: Tensor
    unit: str
    signed: bool = False
    pixel_maps: Tensor | None = None
    pixel_unit: str = ""
    kind: ClassVar[str] = "heatmaps"


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
