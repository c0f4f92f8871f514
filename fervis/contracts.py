"""What a plug-in of each kind must be: a dataclass of knobs with these methods. ``tests/contract`` holds them to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

from torch import Generator, Tensor, nn

from fervis.engines.passes import Target
from fervis.faces import Faces
from fervis.layers import Layer
from fervis.network import Network
from fervis.results import Explanation, Figure, HeatMaps


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
    """A method of explaining.

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


class Visualizer(Protocol):
    """Draws results of one kind."""

    kind: ClassVar[str]

    def draw(self, explanation: Explanation, folder: Path) -> list[Figure]:
        """Write the figures into ``folder`` and say what each shows."""
        ...


@dataclass(frozen=True)
class RunCard:
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


class Tracker(Protocol):
    """Follows a run: one ``start`` and one ``finish`` around any number of ``log`` and ``picture``."""

    def start(self, run: RunCard) -> None: ...

    def log(self, numbers: Mapping[str, float], epoch: int | None = None) -> None:
        """Numbers of an epoch, or (without one) of the answer."""
        ...

    def picture(self, name: str, figure: Figure) -> None: ...

    def finish(self, ok: bool) -> None: ...
