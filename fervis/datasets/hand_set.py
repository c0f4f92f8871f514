"""Images for networks with hand-set weights, and the exact attribution of every pixel.

The truth is the Shapley value of each pixel for the second logit, where a pixel that is left out takes its values over
all images, which are equally frequent. It adds up to the logit minus its mean, it is 0 for a pixel that the network
does not read, and for a sum of terms it is the sum of the terms' values, each of which has a closed form here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
from torch import Tensor

from fervis.core.faces import SPLITS, Faces, Truth
from fervis.core.hand_set import HAND_SET_CASES, HAND_SET_PIXELS, HAND_SET_SIDE, HAND_SET_WEIGHTS
from fervis.core.knobs import Choice, Whole
from fervis.core.seeding import generator_for

HAND_SET_CLASSES = ("negative", "positive")


@dataclass
class HandSetImages:
    """Images of 8 x 8 pixels, black or white by chance, for ``model=hand_set`` of the same case.

    The eight pixels that the network reads are ``truth.evidence``; to mark another is wrong. Labels are the network's
    own predictions. ``target=positive`` is the class whose attribution ``truth.attribution`` states.

    Attributes:
        case: of the network.
        count: images.
        seed: of the images.
    """

    case: Annotated[str, Choice(*HAND_SET_CASES)] = "additive"
    count: Annotated[int, Whole(1)] = 64
    seed: Annotated[int, Whole(0)] = 0

    def files(self) -> list[Path]:
        """Return no file: the images come from this code."""
        return []

    def load(self, cache: Path) -> Faces:
        """Draw the images; all are in ``test``."""
        shape = (self.count, HAND_SET_SIDE, HAND_SET_SIDE)
        white = torch.randint(2, shape, generator=generator_for(self.seed, "dataset/hand_set"), dtype=torch.uint8)
        attribution, values = hand_set_truth(self.case, white)
        evidence = torch.zeros(HAND_SET_SIDE, HAND_SET_SIDE, dtype=torch.bool)
        evidence[_ROWS, _COLUMNS] = True
        return Faces(
            images=white[:, None] * 255,
            labels=(values > 0).long(),
            rows=torch.arange(self.count),
            splits=torch.full((self.count,), SPLITS.index("test"), dtype=torch.uint8),
            classes=HAND_SET_CLASSES,
            truth=Truth(
                evidence=evidence.expand(shape).clone(),
                regions=evidence.expand(shape).to(torch.uint8),
                region_names=("unread", "read"),
                action_units=torch.zeros(self.count, 0),
                action_unit_names=(),
                attribution=attribution.float(),
            ),
        )


def hand_set_truth(case: str, white: Tensor) -> tuple[Tensor, Tensor]:
    """Return the attribution [N,8,8] float64 of images [N,8,8] of zeros and ones, and the second logit [N]."""
    paired = case in ("conjunction", "exclusive_or")
    weights = torch.tensor(HAND_SET_WEIGHTS, dtype=torch.float64)
    pixels = white[:, _ROWS, _COLUMNS].double()
    values, logits = _TERMS[case](pixels if case == "pertinent_negative" else 2 * pixels - 1)
    weights = weights[::2] if paired else weights
    truth = torch.zeros(white.shape, dtype=torch.float64)
    truth[:, _ROWS, _COLUMNS] = values * (weights.repeat_interleave(2) if paired else weights)
    return truth, (logits * weights).sum(1)


_ROWS, _COLUMNS = torch.tensor(HAND_SET_PIXELS).T


def _sum_values(pixels: Tensor) -> tuple[Tensor, Tensor]:
    return pixels, pixels


def _presence_values(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """A positive weight reads x, a negative one -(1 - x) = x - 1; the mean of x is a half."""
    absent = torch.tensor(HAND_SET_WEIGHTS) < 0
    return pixels - 0.5, pixels - absent.double()


def _conjunction_values(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """The mean of relu(a + b - 1) is 1/4, with one pixel known 1/2 or 0; half of both steps is a pixel's share."""
    own = (pixels + 1) / 2
    partner = _partners(own)
    values = ((own / 2 - 0.25) + (own * partner - partner / 2)) / 2
    return values, (own * partner)[:, ::2]


def _exclusive_or_values(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """The mean of |a + b| - 1 is 0, with one pixel known too; each pixel has half of the value."""
    equal = pixels * _partners(pixels)
    return equal / 2, equal[:, ::2]


def _partners(pixels: Tensor) -> Tensor:
    return pixels.unflatten(1, (-1, 2)).flip(2).flatten(1)


_TERMS: dict[str, Callable[[Tensor], tuple[Tensor, Tensor]]] = {
    "additive": _sum_values,
    "shattered_gradient": _sum_values,
    "pertinent_negative": _presence_values,
    "conjunction": _conjunction_values,
    "exclusive_or": _exclusive_or_values,
}
