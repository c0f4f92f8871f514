"""The subject of a check: the measure with a network, images, maps and a truth to test it on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fervis.core.faces import Truth
from fervis.core.layers import resolve_layers
from fervis.core.targets import class_targets
from fervis.evidence.protocol import ExplainAgain
from fervis.models.batch import Batch
from fervis.models.checks.networks import CheckNetwork
from fervis.models.checks.outcomes import expect
from fervis.models.checks.plugin import CheckedPlugin

SIZE = (16, 16)
BLOCK = (slice(3, 9), slice(8, 14))  # rows and columns of the pixels that the known network reads
_IMAGES = (0, 1, 2)
_SCORES_ALIKE = 1e-4  # rounding in another order changes less


class KnownNetwork(nn.Module):
    """Two classes of which the first has the sum of the pixels of a block for its logit, and the second a constant."""

    def __init__(self, channels: int = 1) -> None:
        super().__init__()
        self.head = nn.Linear(channels * SIZE[0] * SIZE[1], 2)
        weights = torch.zeros(2, channels, *SIZE)
        weights[0, :, *BLOCK] = 0.3 / channels
        with torch.no_grad():
            self.head.weight.copy_(weights.flatten(1))
            self.head.bias.copy_(torch.tensor([0.0, 3.0]))

    def forward(self, images: Tensor) -> Tensor:
        """[N,C,16,16] float -> [N,2] logits."""
        return self.head(images.flatten(1))

    def contributions(self, images: Tensor) -> Tensor:
        """Return [N,1,H,W] what each pixel adds to the first logit."""
        return (self.head.weight[0].detach().view(images.shape[1:]) * images).sum(1, keepdim=True)


@dataclass
class MeasureSubject(CheckedPlugin):
    """A measure with all that its checks need; scores are computed once and shared.

    Attributes:
        measure: a registered name, a class or an instance.
        knobs: settings that differ from the defaults.
    """

    kind: ClassVar[str] = "evidence"
    measure: Any
    knobs: Mapping[str, Any] = field(default_factory=dict)
    saved: dict[str, Any] = field(default_factory=dict)

    @property
    def plugin(self) -> Any:
        """The registered name, the class or the instance."""
        return self.measure

    @property
    def has_direction(self) -> bool:
        """Whether lower or higher scores are better."""
        return getattr(self.cls, "better", None) in ("lower", "higher")

    def batch(
        self, index: Sequence[int] = _IMAGES, classes: Any = None, channels: int = 1, size: tuple[int, int] = SIZE
    ) -> Batch:
        """Return some of three images of a small convolutional network, each with its truth; by default two targets."""
        images = torch.rand(3, channels, *size, generator=torch.Generator().manual_seed(4))[list(index)]
        chosen = class_targets(torch.tensor([[0, 2]] * len(index)) if classes is None else torch.as_tensor(classes))
        matters = torch.zeros(3, *size, dtype=torch.bool)
        for number in range(3):
            matters[number, 2 + number : 7 + number, 4:10] = True
        model = CheckNetwork(channels)
        layers = resolve_layers(model, "input", images[:1])
        names, rows = ("a", "b", "c"), torch.arange(len(index))
        return Batch(
            model, images, layers, chosen, classes=names, rows=rows, truth=_truth_of(matters).take(torch.tensor(index))
        )

    def maps(self, index: Sequence[int] = _IMAGES, size: tuple[int, int] = SIZE) -> Tensor:
        """Return maps [n,2,H,W] of the images at these positions, of values of both signs, the same every time."""
        return torch.randn(3, 2, *size, generator=torch.Generator().manual_seed(5))[list(index)]

    def run(self, batch: Batch, maps: Tensor, again: ExplainAgain | None = None) -> dict[str, Tensor]:
        """Call ``measure``."""
        return self.build().measure(batch, maps, again or _stand_in(batch, maps))

    def scores(self) -> dict[str, Tensor]:
        """Return the scores of the default maps, computed once."""
        if "scores" not in self.saved:
            self.saved["scores"] = self.run(self.batch(), self.maps())
        return self.saved["scores"]

    def known_score(self, maps: Tensor, again: ExplainAgain) -> float:
        """Return the mean score of maps [8,1,H,W] of a network whose exact contributions of pixels are known."""
        score = self.run(known_batch(), maps, again)[""]
        return float(score[score.isfinite()].double().mean())


def known_batch() -> Batch:
    """Return eight images of the known network, with its first class for the target and its block for the truth."""
    model, images = KnownNetwork(), 0.4 * torch.rand(8, 1, *SIZE, generator=torch.Generator().manual_seed(6))
    images[:, :, *BLOCK] += 0.5  # so that a blurred image has less of it
    matters = torch.zeros(8, *SIZE, dtype=torch.bool)
    matters[:, *BLOCK] = True
    layers = resolve_layers(model, "input", images[:1])
    targets = class_targets([0] * 8)
    rows = torch.arange(8)
    return Batch(model, images, layers, targets, classes=("a", "b"), rows=rows, truth=_truth_of(matters))


def expect_alike(
    one: Mapping[str, Tensor], two: Mapping[str, Tensor], what: str, tolerance: float = _SCORES_ALIKE
) -> None:
    """Raise AssertionError unless two sets of scores are alike, NaN included."""
    expect(one.keys() == two.keys(), f"{what}: scores {sorted(one)} and {sorted(two)}.")
    for name, first in one.items():
        second = two[name]
        expect(first.shape == second.shape, f"{what}: scores of {list(first.shape)} and {list(second.shape)}.")
        alike = torch.allclose(first.double(), second.double(), tolerance, tolerance, equal_nan=True)
        expect(alike, f"{what}: the scores {name!r} differ, {first.tolist()} and {second.tolist()}.")


def taken(scores: Mapping[str, Tensor], index: Any) -> dict[str, Tensor]:
    """Return the scores at an index."""
    return {name: values[index] for name, values in scores.items()}


def _truth_of(matters: Tensor) -> Truth:
    return Truth(matters, matters.to(torch.uint8), ("background", "mouth"), torch.zeros(len(matters), 1), ("AU12",))


def _stand_in(batch: Batch, maps: Tensor) -> ExplainAgain:
    """Return an explainer whose maps are those given, plus the images, by a factor that the weights and seed decide."""

    def again(images: Tensor | None = None, model: nn.Module | None = None, *, seed: int | None = None) -> Tensor:
        def grey(one: Tensor) -> Tensor:
            return one.mean(1, keepdim=True)

        def factor(network: nn.Module) -> float:
            return float(next(network.parameters()).detach().mean())

        images, versions = (batch.images, 1) if images is None else (images, len(images) // len(batch))
        own, given = (one.repeat_interleave(versions, 0) for one in (batch.images, maps))
        turned = 0.0 if model is None else factor(model) - factor(batch.model)
        drawn = 0.0 if seed is None else seed % 97 / 97
        return given + given.abs().amax((2, 3), keepdim=True) * (
            grey(images) - grey(own) + grey(own) * (turned + drawn)
        )

    return again


def with_classes(batch: Batch, classes: Any) -> Batch:
    """Return the batch with other targets."""
    return replace(batch, targets=class_targets(torch.as_tensor(classes)))
