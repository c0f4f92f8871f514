"""hand_set: networks whose weights are set by hand, so that the attribution of every pixel is known exactly.

Each is a sum of terms of one or two pixels, built of a 1x1 convolution, a rectifier and linear layers, so that every
method of maps can explain it. After XAI-Units (Lee et al. 2025) and AttributionLab (Zhang et al. 2023,
arXiv:2310.06514). The images with their true maps are ``dataset=hand_set``; ask with ``checkpoint=initial``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
from torch import Tensor, nn

from fervis.core.hand_set import HAND_SET_CASES, HAND_SET_PIXELS, HAND_SET_SIDE, HAND_SET_WEIGHTS
from fervis.core.knobs import Choice
from fervis.core.network import Network, pixel_statistics
from fervis.errors import ConfigError
from fervis.models.architectures.base import network_settings

WAVES = 4  # of the zigzag between 0 and 1; even, so that its slope at -1 and 1 is that at 0
STEEPNESS = 5.0  # slope of the zigzag; above 1 it turns every gradient round


@dataclass
class HandSet:
    """The knobs of ``hand_set``.

    Attributes:
        case: what the network computes of its pixels, of weights w: ``additive`` w x; ``shattered_gradient`` the same
            plus a steep zigzag that is 0 at -1, 0 and 1; ``pertinent_negative`` w x for w > 0 and -w (1 - x) for
            w < 0, of pixels 0 and 1; ``conjunction`` w relu(a + b - 1); ``exclusive_or`` w (|a + b| - 1).
        checkpoint: none; the weights are set.
    """

    case: Annotated[str, Choice(*HAND_SET_CASES)] = "additive"
    checkpoint: str | None = None

    def build(self, *, channels: int, size: int, classes: tuple[str, ...]) -> Network:
        """Build the network of two opposite logits, of which the second is the sum of the terms.

        Raises:
            ConfigError: images of another size, more channels than one or more classes than two, or a checkpoint.
        """
        if self.checkpoint:
            raise ConfigError(f"model.checkpoint={self.checkpoint}: the weights of model=hand_set are set.")
        if (channels, size, len(classes)) != (1, HAND_SET_SIDE, 2):
            raise ConfigError(
                f"model=hand_set: it takes grey images of {HAND_SET_SIDE} pixels with two classes, such as those of "
                f"dataset=hand_set; this data has {channels} channels, {size} pixels and {len(classes)} classes."
            )
        mean, std = pixel_statistics("unit" if self.case == "pertinent_negative" else "signed", channels)
        return Network(
            hand_set_network(self.case),
            classes=classes,
            channels=channels,
            size=size,
            mean=mean,
            std=std,
            standardize=False,
            pixels_stated=True,
            settings=network_settings("hand_set", self),
        )

    def files(self) -> list[Path]:
        """Return no file."""
        return []


def hand_set_network(case: str) -> nn.Sequential:
    """Return the network [N,1,8,8] -> [N,2] of a case, behind the normalisation."""
    return _NETWORKS[case]().requires_grad_(False).eval()


def _additive() -> nn.Sequential:
    return _pixel_network([(1.0, 0.0), (-1.0, 0.0)], _pixel_weights([1.0, -1.0]))


def _shattered_gradient() -> nn.Sequential:
    kinks = [(2 * number + 1) / (2 * WAVES) for number in range(-WAVES, WAVES)]
    turns = [2 * STEEPNESS * (-1) ** number for number in range(2 * WAVES)]
    # The zigzag begins at -1 with value 0 and slope -STEEPNESS: relu(x + 2) is x + 2 without a kink between -1 and 1.
    offset = 2 * (1 - STEEPNESS) + STEEPNESS
    return _pixel_network(
        [(1.0, 2.0), *((1.0, -kink) for kink in kinks)],
        _pixel_weights([1.0 - STEEPNESS, *turns]),
        bias=-offset * sum(HAND_SET_WEIGHTS),
    )


def _pertinent_negative() -> nn.Sequential:
    """Read ``x`` by the positive weights and ``1 - x`` by the magnitude of the negative ones."""
    weights = torch.zeros(2, HAND_SET_SIDE, HAND_SET_SIDE)
    for (row, column), weight in zip(HAND_SET_PIXELS, HAND_SET_WEIGHTS, strict=True):
        weights[int(weight < 0), row, column] = abs(weight)
    return _pixel_network([(1.0, 0.0), (-1.0, 1.0)], weights)


def _conjunction() -> nn.Sequential:
    return _pair_network([(1.0, -1.0)], bias=0.0)


def _exclusive_or() -> nn.Sequential:
    return _pair_network([(1.0, 0.0), (-1.0, 0.0)], bias=-1.0)


_NETWORKS: dict[str, Callable[[], nn.Sequential]] = {
    "additive": _additive,
    "shattered_gradient": _shattered_gradient,
    "pertinent_negative": _pertinent_negative,
    "conjunction": _conjunction,
    "exclusive_or": _exclusive_or,
}


def _pixel_weights(channels: Sequence[float]) -> Tensor:
    """Return the weights [C,8,8] of a logit that reads each pixel by its weight and each channel by its own."""
    weights = torch.zeros(len(channels), HAND_SET_SIDE, HAND_SET_SIDE)
    for (row, column), weight in zip(HAND_SET_PIXELS, HAND_SET_WEIGHTS, strict=True):
        weights[:, row, column] = weight * torch.tensor(channels)
    return weights


def _pixel_network(channels: Sequence[tuple[float, float]], weights: Tensor, bias: float = 0.0) -> nn.Sequential:
    """Build two opposite logits that read, by these weights [C,8,8], relu(factor x + offset) of each pixel."""
    head = nn.Linear(weights.numel(), 2)
    flat = weights.flatten()
    _set_weights(head, torch.stack([-flat, flat]), torch.tensor([-bias, bias]))
    return nn.Sequential(_pixelwise(channels), nn.ReLU(), nn.Flatten(), head)


def _pair_network(units: Sequence[tuple[float, float]], bias: float) -> nn.Sequential:
    """Build two opposite logits that read hidden units relu(factor (a + b) + offset) of each pair of pixels.

    Args:
        units: factor and offset of the units that each pair has.
        bias: of each pair, times its weight.
    """
    weights = torch.tensor(HAND_SET_WEIGHTS[::2])
    sums = torch.zeros(len(weights), 2, HAND_SET_SIDE, HAND_SET_SIDE)  # of channels relu(x) and relu(-x)
    for number, (row, column) in enumerate(HAND_SET_PIXELS):
        sums[number // 2, :, row, column] = torch.tensor([1.0, -1.0])
    middle = nn.Linear(sums[0].numel(), len(weights) * len(units))
    head = nn.Linear(middle.out_features, 2)
    factors, offsets = torch.tensor(units).T
    _set_weights(
        middle, (factors[:, None, None] * sums.flatten(1)).flatten(0, 1), offsets.repeat_interleave(len(weights))
    )
    flat, total = weights.repeat(len(units)), bias * float(weights.sum())
    _set_weights(head, torch.stack([-flat, flat]), torch.tensor([-total, total]))
    return nn.Sequential(_pixelwise([(1.0, 0.0), (-1.0, 0.0)]), nn.ReLU(), nn.Flatten(), middle, nn.ReLU(), head)


def _pixelwise(channels: Sequence[tuple[float, float]]) -> nn.Conv2d:
    layer = nn.Conv2d(1, len(channels), 1)
    weights, biases = torch.tensor(channels).T
    _set_weights(layer, weights[:, None, None, None], biases)
    return layer


def _set_weights(layer: nn.Conv2d | nn.Linear, weights: Tensor, biases: Tensor) -> None:
    with torch.no_grad():
        layer.weight.copy_(weights)
        assert layer.bias is not None
        layer.bias.copy_(biases)
