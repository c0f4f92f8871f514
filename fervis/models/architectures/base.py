"""Shared by fervis's own architectures: checkpoints, normalisation, and the smallest image size they accept."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from torch import nn

from fervis.core.knobs import Choice
from fervis.core.network import PIXEL_RANGES, Network, pixel_statistics
from fervis.errors import ConfigError
from fervis.models.state_dicts import saved_build, weights_file


@dataclass
class Architecture:
    """Knobs and building of an architecture whose only other knobs are the arguments of its body.

    Attributes:
        pixels: what the body gets; None for what fervis trains with, (pixels - 0.5) / 0.25, or for weights of a
            foreign file pixels in [0, 1].
        checkpoint: a file of weights, or the folder of a training. One that fervis wrote brings its own settings.
    """

    pixels: Annotated[str | None, Choice(*PIXEL_RANGES)] = None
    checkpoint: str | None = None

    name: ClassVar[str]
    smallest: ClassVar[int]  # side of an image in pixels below which no map is left to pool
    why_smallest: ClassVar[str]

    def body(self, channels: int, classes: int) -> nn.Module:
        """Return the network behind the normalisation, with initial weights from torch's global generator."""
        raise NotImplementedError

    def build(self, *, channels: int, size: int, classes: tuple[str, ...]) -> Network:
        """Build the network; with a ``checkpoint`` that fervis wrote, as the network in that file was built.

        Raises:
            ConfigError: images that are too small, or a checkpoint of another architecture.
        """
        knobs = self
        saved = saved_build(self.checkpoint) if self.checkpoint else None
        if saved:
            knobs, channels, size = self._as_saved(saved["model"]), int(saved["channels"]), int(saved["size"])
            classes = tuple(saved["classes"])
        if size < self.smallest:
            why = self.why_smallest.format(size=size)
            raise ConfigError(f"model={self.name}: {why}; images of at least {self.smallest} pixels are needed.")
        mean, std = (
            pixel_statistics(knobs.pixels, channels) if knobs.pixels else ((0.5,) * channels, (0.25,) * channels)
        )
        return Network(
            knobs.body(channels, len(classes)),
            classes=classes,
            channels=channels,
            size=size,
            mean=mean,
            std=std,
            standardize=knobs.pixels == "standardized",
            pixels_stated=knobs.pixels is not None or saved is not None,
            settings=network_settings(self.name, knobs),
        )

    def files(self) -> list[Path]:
        """Return the file of weights, where one is given."""
        return [weights_file(self.checkpoint)] if self.checkpoint else []

    def _as_saved(self, settings: dict[str, Any]) -> Self:
        """Return these knobs with those of a file of weights; knobs that the file does not state are unchanged."""
        if settings.get("name") != self.name:
            raise ConfigError(
                f"model.checkpoint={self.checkpoint}: it holds the weights of a {settings.get('name')}; ask with "
                f"model={settings.get('name')}."
            )
        if self.pixels is not None and self.pixels != settings.get("pixels"):
            raise ConfigError(
                f"model.pixels={self.pixels}: the network in {self.checkpoint} was trained with other pixels, which "
                "the file knows; leave model.pixels= away."
            )
        known = {field.name for field in fields(self)} - {"checkpoint", "weights"}
        return replace(self, **{knob: value for knob, value in settings.items() if knob in known})


def network_settings(name: str, knobs: Any) -> dict[str, Any]:
    """Return the description of a network in its file of weights: the name and the knobs that shape it."""
    return {"name": name, **{knob: value for knob, value in asdict(knobs).items() if knob not in UNSHAPING_KNOBS}}


UNSHAPING_KNOBS = ("checkpoint", "weights", "path", "module")
"""Knobs that say where weights or code are read from: none of a file's business, and never to be followed."""
