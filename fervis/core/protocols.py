"""What a plug-in of each kind must be: a dataclass of knobs with these methods. ``tests/contract`` holds them to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from torch import Generator, Tensor, nn

from fervis.core.faces import Faces
from fervis.core.layers import Layer
from fervis.core.network import Network
from fervis.core.results import ExplainerOutput, Explanation, Figure, HeatMaps
from fervis.core.seeding import generator_for
from fervis.core.targets import Target


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
    """A method that explains faces one by one, as heat maps.

    Attributes:
        kind: what it returns, such as ``heatmaps``; a visualizer of the same kind draws it.
        default_layer: where the map is taken when the question names no layer: ``input`` or ``last_conv``.
    """

    kind: ClassVar[str]
    default_layer: ClassVar[str]

    def explain(
        self, model: nn.Module, images: Tensor, target: Target, layer: Layer | None, generator: Generator
    ) -> HeatMaps:
        """Explain [N,C,H,W] float images at a layer (None: at the pixels); the model is left as it was found.

        The generator is in the same state for every batch, so what is drawn from it is shared by all images and an
        image's map does not depend on the batch it came in.
        """
        ...


@dataclass(frozen=True)
class NetworkContext:
    """What an examination of a network is asked, beside the network.

    Attributes:
        images: [N,C,H,W] float, the faces asked about, as the network takes them and on its device.
        pool: [M,C,H,W] uint8 or float in [0, 1], all faces of the split; on the CPU.
        rows: [M] int64, the pool's row numbers.
        labels: [M] int64, the pool's labels, -1 where unknown.
        classes: names of the network's classes, in logit order.
        layers: the layers asked for, None for the pixels.
        target: what is to be explained, as the question says it; ``auto`` where it says nothing.
        split: name of the pool's split.
        seed: root of all randomness; ``generator`` derives from it.
        epochs: epoch -> file of weights, of the training that the network comes from; empty where that is unknown.
        history: epoch -> its numbers (``train/loss``, ``val/accuracy``, ...), of the same training.
        quiet: draw no progress bar.
    """

    images: Tensor
    pool: Tensor
    rows: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    layers: tuple[Layer | None, ...]
    target: Any = "auto"
    split: str = "test"
    seed: int = 0
    epochs: Mapping[int, Path] = field(default_factory=dict)
    history: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    quiet: bool = True

    def generator(self, use: str) -> Generator:
        """A generator on the CPU, derived from the seed and the name of its use."""
        return generator_for(self.seed, use)

    def batches(self, size: int = 64) -> Iterator[tuple[slice, Tensor]]:
        """The pool batch by batch, as [n,C,H,W] float32 in [0, 1] on the device of ``images``, with its place."""
        for start in range(0, len(self.pool), size):
            part = self.pool[start : start + size].to(self.images.device)
            yield slice(start, start + len(part)), part if part.is_floating_point() else part.float() / 255


@runtime_checkable
class NetworkExplainer(Protocol):
    """A method that asks of a network as a whole, or of its filters, rather than of one face's class.

    Attributes:
        kind: what it returns, such as ``filter_images``.
        default_layer: where it looks when the question names no layer: ``input`` or ``last_conv``.
        uses_layers: whether ``layer=`` changes its answer; where not, a question that names one is refused.
    """

    kind: ClassVar[str]
    default_layer: ClassVar[str]
    uses_layers: ClassVar[bool]

    def examine(self, model: nn.Module, inquiry: NetworkContext) -> ExplainerOutput:
        """Examine a trained network; it is left as it was found."""
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
        id: the question's hash.
        folder: the run folder; a tracker writes nowhere else.
        config: the resolved question as plain data.
        group: the sweep it belongs to, or None.
        job_type: ``explain`` or ``train``.
        tags: words to find it by.
    """

    name: str
    id: str
    folder: Path
    config: dict[str, Any]
    group: str | None = None
    job_type: str = "explain"
    tags: tuple[str, ...] = field(default_factory=tuple)


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
