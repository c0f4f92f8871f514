"""tris: the three networks of XAI-TRIS for images of 8 x 8 pixels (Clark et al. 2023, arXiv:2306.12816)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from torch import nn

from fervis.core.knobs import Choice
from fervis.core.network import PIXEL_RANGES, Network
from fervis.errors import ConfigError
from fervis.models.architectures.base import Architecture

TRIS_SIDE = 8
_FILTERS = 4


@dataclass
class Tris(Architecture):
    """The knobs of ``tris``; the authors' networks end in a softmax, these in logits.

    Attributes:
        form: ``linear`` (logistic regression), ``mlp`` (three hidden layers of 32, 16 and 8) or ``cnn`` (four
            convolutions of 2 x 2, each with a rectifier and a pooling).
        pixels: what the network gets; the data set's are in [-1, 1].
    """

    form: Annotated[str, Choice("linear", "mlp", "cnn")] = "cnn"
    pixels: Annotated[str | None, Choice(*PIXEL_RANGES)] = "signed"

    name: ClassVar[str] = "tris"
    smallest: ClassVar[int] = TRIS_SIDE
    why_smallest: ClassVar[str] = "images of {size} pixels are none of XAI-TRIS"

    def build(self, *, channels: int, size: int, classes: tuple[str, ...]) -> Network:
        """Build the network.

        Raises:
            ConfigError: images of another size.
        """
        if size > TRIS_SIDE:
            raise ConfigError(
                f"model=tris: it takes images of {TRIS_SIDE} pixels, such as those of dataset=xai_tris, not {size}."
            )
        return super().build(channels=channels, size=size, classes=classes)

    def body(self, channels: int, classes: int) -> nn.Sequential:
        """Return the network behind the normalisation, with torch's default initial weights."""
        inputs = channels * TRIS_SIDE * TRIS_SIDE
        layers: dict[str, Any]
        if self.form == "linear":
            return _sequence({"flatten": nn.Flatten(), "head": nn.Linear(inputs, classes, bias=False)})
        if self.form == "mlp":
            layers, width = {"flatten": nn.Flatten()}, inputs
            for number, units in enumerate((32, 16, 8), 1):
                layers |= {f"linear{number}": nn.Linear(width, units), f"relu{number}": nn.ReLU()}
                width = units
            return _sequence({**layers, "head": nn.Linear(width, classes)})
        layers = {}
        for number in range(1, 5):
            layers[f"conv{number}"] = nn.Conv2d(channels if number == 1 else _FILTERS, _FILTERS, 2, padding=1)
            layers |= {f"relu{number}": nn.ReLU(), f"pool{number}": nn.MaxPool2d(2)}
        return _sequence({**layers, "flatten": nn.Flatten(), "head": nn.Linear(_FILTERS, classes)})


def _sequence(layers: dict[str, nn.Module]) -> nn.Sequential:
    network = nn.Sequential()
    for name, layer in layers.items():
        network.add_module(name, layer)
    return network
