"""Protocols of plug-ins: each is a dataclass of knobs with these methods. ``tests/contract`` tests all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from fervis.core.faces import Faces
from fervis.core.network import Network
from fervis.core.results import ExplainerOutput, Explanation, Figure, LayerMaps, Result

if TYPE_CHECKING:  # the batch has passes over a network, which are in a higher layer
    from fervis.models.batch import Batch


class Dataset(Protocol):
    """All faces of a data set, every split."""

    def load(self, cache: Path) -> Faces:
        """Load the faces; parsed copies may be stored in the folder ``cache``, whole files named by content."""
        ...

    def files(self) -> list[Path]:
        """Return the files or folders outside fervis that the faces come from, so that a change of them is seen."""
        ...


class Model(Protocol):
    """A network that is not trained yet. Initial weights come from torch's global generator, seeded by the caller."""

    checkpoint: str | None

    def build(self, *, channels: int, size: int, classes: tuple[str, ...]) -> Network:
        """Build it for faces of these channels (1 or 3) and this size (pixels)."""
        ...

    def files(self) -> list[Path]:
        """Return the files outside fervis that the network comes from."""
        ...


class Trainer(Protocol):
    """Trains a network and writes its checkpoints into a folder."""

    def train(
        self, network: Network, train: Faces, val: Faces, folder: Path, training: TrainingContext
    ) -> Mapping[str, Any]:
        """Train in place, and write ``epoch_<n>.safetensors`` and ``metrics.csv`` after each epoch.

        Returns:
            ``best`` and ``last``, numbers of epochs, and what else the record of the training should state.
        """
        ...


@dataclass(frozen=True)
class TrainingContext:
    """Settings of one training that are no knobs of the trainer.

    Attributes:
        seed: root of all generators of the training.
        device: device to train on.
        precision: ``bf16`` (autocast) or ``fp32``.
        log: called with the epoch and its metrics after each epoch.
        quiet: show no progress bar.
    """

    seed: int
    device: str
    precision: str
    log: Callable[[int, Mapping[str, float]], None]
    quiet: bool = False


class Explainer(Protocol):
    """A method that explains images one by one, or a network as a whole.

    Attributes:
        result: kind of the run's result: ``HeatMaps`` for methods that return ``LayerMaps``. A visualizer of the same
            kind draws it.
        scope: ``image`` for a method that explains each image separately, so that many images may be explained in
            chunks; ``network`` for one that explains the network, its filters or its training.
        takes: which settings of a run change its result, of ``layers``, ``pixels`` (as a layer), ``classes`` and
            ``filters`` (as targets); a run that states another is refused.
        default_layer: the layer if ``layer=`` is not given: ``input``, ``last_conv``, ``last_map`` or ``all``.
    """

    result: ClassVar[type[Result]]
    scope: ClassVar[Literal["image", "network"]]
    takes: ClassVar[frozenset[str]]
    default_layer: ClassVar[str]

    def explain(self, batch: Batch) -> LayerMaps | ExplainerOutput:
        """Explain a batch; the model is left unchanged.

        The generators of every batch are in the same state, so that random draws are shared by all images and the map
        of an image does not depend on its batch.
        """
        ...


class Visualizer(Protocol):
    """Draws results of one kind."""

    kind: ClassVar[str]

    def draw(self, explanation: Explanation, folder: Path) -> list[Figure]:
        """Write the figures into ``folder`` and return them with captions."""
        ...


@dataclass(frozen=True)
class RunInfo:
    """Name, settings and place of a run, as a tracker needs them before the run starts.

    Attributes:
        name: name of the run folder.
        id: the first digits of the key.
        folder: the run folder; a tracker writes nowhere else.
        config: the resolved config as plain data.
        group: the sweep that the run belongs to, or None.
        job_type: ``explain`` or ``train``.
        tags: words to find the run by.
        key: 64 hex digits over everything that determines the result; empty for trainings.
    """

    name: str
    id: str
    folder: Path
    config: dict[str, Any]
    group: str | None = None
    job_type: str = "explain"
    tags: tuple[str, ...] = field(default_factory=tuple)
    key: str = ""


@dataclass(frozen=True)
class ImageRow:
    """A row of a tracker's table of images.

    Attributes:
        face: [H,W,3] uint8.
        map: [H,W,3] uint8, the heat map in colours, or None where the result has none.
        scale: the values of the map's first and last colour, as text.
        values: column -> text or number: ``row``, ``layer``, ``true``, ``predicted``, ``probability``, the scores, ...
    """

    face: NDArray[np.uint8]
    map: NDArray[np.uint8] | None
    scale: str
    values: Mapping[str, Any]


class Tracker(Protocol):
    """Records runs in an experiment tracker; writes files into the run folder alone.

    A run is one ``start``, any number of the ``log_*`` calls in any order, and one ``finish``. What is logged of a run
    and of a training: ``fervis.runs.track``.
    """

    def start(self, run: RunInfo) -> None:
        """Open a run."""
        ...

    def log_metrics(self, metrics: Mapping[str, float], epoch: int | None = None) -> None:
        """Record metrics of an epoch, or (without an epoch) of the whole run."""
        ...

    def log_figure(self, name: str, figure: Figure) -> None:
        """Record a figure's file with its caption."""
        ...

    def log_images(self, rows: Sequence[ImageRow]) -> None:
        """Record the table of images; called at most once per run."""
        ...

    def log_confusion(self, name: str, counts: NDArray[np.int64], classes: Sequence[str]) -> None:
        """Record a confusion matrix: [K,K] faces of true class i that were predicted as class j."""
        ...

    def log_artifact(self, name: str, kind: str, files: Mapping[str, Path]) -> None:
        """Record files as one artifact of a kind, ``answer`` or ``model``: name within the artifact -> path."""
        ...

    def finish(self, ok: bool) -> None:
        """Close the run, as finished or as failed; may be called again."""
        ...
