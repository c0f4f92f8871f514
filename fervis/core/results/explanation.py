"""An explainer's output, and an explanation: a result with the faces, names and predictions that belong to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from fervis.core.faces import Faces
from fervis.core.intervals import Interval
from fervis.core.results.result import Result


@dataclass(frozen=True)
class ExplainerOutput:
    """An explainer's result of N entries with the layer, target and image of each.

    Attributes:
        result: the N entries.
        layers: N layer names; ``input`` for the pixels, ``network`` for the whole of it.
        targets: N names: ``conv7/4`` for a filter, a class, or words such as ``64 filters``.
        images: [N] int64, position of each entry's image in the batch; None where entries are not of images.
        numbers: numbers of the output as a whole, by name.
    """

    result: Result
    layers: tuple[str, ...]
    targets: tuple[str, ...]
    images: Tensor | None = None
    numbers: dict[str, float] | None = None


@dataclass(frozen=True)
class Explanation:
    """An explainer's result of N entries with the faces, names and predictions that belong to it.

    An entry is one face, layer, target and checkpoint; or, where ``of_faces`` is false, a filter, a class or a network,
    and then ``faces``, ``predictions`` and ``probabilities`` are empty.

    Attributes:
        result: the N results, of one kind.
        faces: the N faces (a face explained at two layers is listed twice).
        layers: N layer names, ``input`` for the pixels.
        targets: N names of what is explained: a class, or ``conv7/4`` for a filter.
        predictions: [N] int64, index of the predicted class.
        probabilities: [N,K] float32, softmax over the classes.
        classes: names of the network's K classes.
        explainer: name of the method, as in the config.
        model: name of the network, as in the config.
        dataset: name of the data set, as in the config.
        evidence: measure -> [N] float32, the scores of each entry; ``<measure>/<baseline>`` those of baselines.
        sentences: N texts, the evidence of each entry in words; empty without such evidence.
        checkpoints: N names of the checkpoints: ``best``, ``1``, ...
        means: means of a result's numbers by layer, by ``mean_key``; empty for results that have none.
        means_over: the largest number of entries that one of the means is over.
    """

    result: Any  # a Result of the visualizer's kind
    faces: Faces
    layers: tuple[str, ...]
    targets: tuple[str, ...]
    predictions: Tensor
    probabilities: Tensor
    classes: tuple[str, ...]
    explainer: str
    model: str
    dataset: str
    checkpoints: tuple[str, ...] = ()
    evidence: dict[str, Tensor] = field(default_factory=dict)
    sentences: tuple[str, ...] = ()
    means: Mapping[str, Interval] = field(default_factory=dict)
    means_over: int = 0

    def entries_by_layer(self) -> dict[tuple[str, str], list[int]]:
        """Return the entries of each layer and checkpoint; the checkpoint is empty where there are no names."""
        groups: dict[tuple[str, str], list[int]] = {}
        for entry, layer in enumerate(self.layers):
            groups.setdefault((layer, self.checkpoints[entry] if self.checkpoints else ""), []).append(entry)
        return groups

    def mean_key(self, layer: str, checkpoint: str, name: str) -> str:
        """Return the name of a mean: ``conv7/black``, or ``best/conv7/black`` where checkpoints are compared."""
        return f"{checkpoint}/{layer}/{name}" if self.several_checkpoints else f"{layer}/{name}"

    @property
    def of_faces(self) -> bool:
        """Whether an entry is a face."""
        return len(self.faces) > 0

    @property
    def several_checkpoints(self) -> bool:
        """Whether checkpoints are compared."""
        return len(set(self.checkpoints)) > 1


@dataclass(frozen=True)
class Figure:
    """An image file with a caption that describes it in a sentence."""

    path: Path
    caption: str
