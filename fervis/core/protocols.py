"""What a plug-in of each kind must be: a dataclass of knobs with these methods. ``tests/contract`` holds them to it."""

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

if TYPE_CHECKING:  # the batch has passes over a network, which lie above this package
    from fervis.models.batch import Batch


class Dataset(Protocol):
    """All faces of a data set, every split."""

    def load(self, cache: Path) -> Faces:
        """Load the faces; parsed copies may be kept in the folder ``cache``, whole files named by content."""
        ...

    def files(self) -> list[Path]:
        """The files or folders outside fervis that the faces come from, so that a change of them is seen."""
        ...


class Model(Protocol):
    """A network that is not trained yet. Initial weights come from torch's global generator, seeded by the caller."""

    checkpoint: str | None

    def build(self, *, channels: int, size: int, classes: tuple[str, ...]) -> Network:
        """Build it for faces of these channels (1 or 3) and this size (pixels)."""
        ...

    def files(self) -> list[Path]:
        """The files outside fervis that the network comes from."""
        ...


class Trainer(Protocol):
    """Trains a network and keeps its checkpoints in a folder."""

    def train(
        self, network: Network, train: Faces, val: Faces, folder: Path, training: TrainingContext
    ) -> Mapping[str, Any]:
        """Train in place. Write ``epoch_<n>.safetensors`` after each epoch and ``metrics.csv``; return the numbers."""
        ...


@dataclass(frozen=True)
class TrainingContext:
    """What a trainer is told beside its knobs.

    Attributes:
        seed: root of all its generators.
        device: where to train.
        precision: ``bf16`` (autocast) or ``fp32``.
        log: called with the epoch and its numbers after each epoch.
        quiet: draw no progress bar.
    """

    seed: int
    device: str
    precision: str
    log: Callable[[int, Mapping[str, float]], None]
    quiet: bool = False


class Explainer(Protocol):
    """A method that explains images one by one, or a network as a whole.

    Attributes:
        result: kind of result that the run holds in the end: ``HeatMaps`` for methods that return ``LayerMaps``. A
            visualizer of the same kind draws it.
        scope: ``image`` for a method that explains each image by itself, so that many images may be explained in
            chunks; ``network`` for one that looks at the network, its filters or its training.
        takes: which settings of a run change its result, of ``layers``, ``pixels`` (as a layer), ``classes`` and
            ``filters`` (as targets); a run that states another is refused.
        default_layer: where it looks when ``layer=`` says nothing: ``input``, ``last_conv`` or ``all``.
    """

    result: ClassVar[type[Result]]
    scope: ClassVar[Literal["image", "network"]]
    takes: ClassVar[frozenset[str]]
    default_layer: ClassVar[str]

    def explain(self, batch: Batch) -> LayerMaps | ExplainerOutput:
        """Explain a batch; the model is left as it was.

        Every batch has generators in the same state, so that what is drawn from them is shared by all images and the
        map of an image does not depend on the batch it is in.
        """
        ...


class Visualizer(Protocol):
    """Draws results of one kind."""

    kind: ClassVar[str]

    def draw(self, explanation: Explanation, folder: Path) -> list[Figure]:
        """Write the figures into ``folder`` and say what each shows."""
        ...


@dataclass(frozen=True)
class RunInfo:
    """What a tracker is told of a run before it starts.

    Attributes:
        name: the run folder's name, readable.
        id: the first digits of the key.
        folder: the run folder; a tracker writes nowhere else.
        config: the resolved question as plain data.
        group: the sweep it belongs to, or None.
        job_type: ``explain`` or ``train``.
        tags: words to find it by.
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
    """A line of a tracker's table of faces.

    Attributes:
        face: [H,W,3] uint8.
        map: [H,W,3] uint8, the heat map in colours, or None where the answer has none.
        scale: which values the map's first and last colour stand for, in words.
        values: column -> word or number: ``row``, ``layer``, ``true``, ``predicted``, ``probability``, the scores, ...
    """

    face: NDArray[np.uint8]
    map: NDArray[np.uint8] | None
    scale: str
    values: Mapping[str, Any]


class Tracker(Protocol):
    """Follows a run: one ``start`` and one ``finish`` around any number of the others; writes into its folder alone.

    ``fervis.runs.track`` says what it is told.
    """

    def start(self, run: RunInfo) -> None: ...

    def log(self, numbers: Mapping[str, float], epoch: int | None = None) -> None:
        """Numbers of an epoch, or (without one) of the answer."""
        ...

    def picture(self, name: str, figure: Figure) -> None: ...

    def faces(self, rows: Sequence[ImageRow]) -> None:
        """The answer's table of faces; told once, where there are some."""
        ...

    def confusion(self, name: str, counts: NDArray[np.int64], classes: Sequence[str]) -> None:
        """A confusion matrix: [K,K] faces of true class i that were predicted as class j."""
        ...

    def keep(self, name: str, kind: str, files: Mapping[str, Path]) -> None:
        """Files worth keeping together, by the names they are kept under: an ``answer`` or a ``model``."""
        ...

    def finish(self, ok: bool) -> None: ...
