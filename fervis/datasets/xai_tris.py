"""XAI-TRIS: two tetrominoes in noise, for which the pixels that matter are known (Clark et al. 2023, arXiv:2306.12816).

The generator of the authors' 8 x 8 images, with their constants. Pixels are bytes here, which cost at most 1/255 of the
range, and random numbers are this code's own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from fervis.core.faces import SPLITS, Faces, Truth
from fervis.core.knobs import Choice, Whole

Patterns = NDArray[np.float64]

SIDE = 8
TETROMINOES = (np.array([[1.0, 0], [1, 1], [1, 0]]), np.array([[1.0, 0], [1, 0], [1, 1]]))
"""Of the class ``t`` and the class ``l``."""
POSITIONS = ((1, 1), (4, 5))
"""Row and column of the upper left corner of each, where they do not move."""
NOISE, SMOOTHING = 0.5, 3.0  # deviation of the noise, and of the Gaussian that correlates it, in pixels
SIGNAL_SHARES = {
    ("linear", "white"): 0.18,
    ("linear", "correlated"): 0.0125,
    ("multiplicative", "white"): 0.70,
    ("multiplicative", "correlated"): 0.10,
    ("translations_rotations", "white"): 0.65,
    ("translations_rotations", "correlated"): 0.20,
    ("xor", "white"): 0.35,
    ("xor", "correlated"): 0.15,
}
"""The alpha of the published data sets, at which all of the authors' networks reach 80 % accuracy or more."""
_SPLIT_SHARES = (0.8, 0.1, 0.1)


@dataclass
class XaiTris:
    """Images of a tetromino in noise, or in ``xor`` of both with signs.

    ``truth.evidence`` is what the authors score by: the pixels of both tetrominoes where these stay in their positions,
    since the absence of one is evidence for the other; the image's own four in ``translations_rotations``.

    Attributes:
        scenario: ``linear`` adds the tetromino to the noise, ``multiplicative`` dims the noise by it,
            ``translations_rotations`` puts it anywhere in any of four turns, and ``xor`` shows both, with equal signs
            in one class and opposite ones in the other, so that no single pixel determines the class.
        background: ``white`` noise, or ``correlated``, which is the same smoothed.
        signal: share of the signal, alpha; null: that of the published data.
        count: images of all splits, of which eight tenths are in ``train`` and one tenth in ``val`` and ``test`` each.
        seed: of all randomness.
    """

    scenario: Annotated[str, Choice("linear", "multiplicative", "translations_rotations", "xor")] = "linear"
    background: Annotated[str, Choice("white", "correlated")] = "white"
    signal: float | None = None
    count: Annotated[int, Whole(40)] = 10_000
    seed: Annotated[int, Whole(0)] = 0

    def files(self) -> list[Path]:
        """Return no file: the images come from this code."""
        return []

    def load(self, cache: Path) -> Faces:
        """Make the images; ``train`` comes first, then ``val``, then ``test``, half of each of either class."""
        generator = np.random.default_rng(self.seed)
        labels = np.arange(self.count) * 2 // self.count
        patterns = _PATTERNS[self.scenario](labels, generator)
        signal = SIGNAL_SHARES[self.scenario, self.background] if self.signal is None else self.signal
        images = self._images(patterns, signal, generator)
        order, splits = _split_order(labels, generator)
        evidence = patterns != 0
        if self.scenario != "translations_rotations":
            evidence = np.broadcast_to(evidence.any(0), evidence.shape)
        truth = torch.from_numpy(evidence[order])
        return Faces(
            images=torch.from_numpy(images[order])[:, None],
            labels=torch.from_numpy(labels[order]),
            rows=torch.arange(self.count),
            splits=torch.from_numpy(splits),
            classes=("equal", "opposite") if self.scenario == "xor" else ("t", "l"),
            truth=Truth(truth, truth.to(torch.uint8), ("background", "tetromino"), torch.zeros(self.count, 0), ()),
        )

    def _images(self, patterns: Patterns, signal: float, generator: np.random.Generator) -> NDArray[np.uint8]:
        """Mix patterns and noise and bring the largest magnitude of all images to the end of the range."""
        noise = generator.normal(0, NOISE, patterns.shape)
        if self.background == "correlated":
            noise = gaussian_filter(noise, (0, SMOOTHING, SMOOTHING))
        if self.scenario == "multiplicative":
            mixed = _normalized(1 - signal * patterns) * _normalized(noise)
        else:
            mixed = signal * _normalized(patterns) + (1 - signal) * _normalized(noise)
        return np.rint(127.5 * (1 + mixed / np.abs(mixed).max())).astype(np.uint8)


def _normalized(images: Patterns) -> Patterns:
    """Divide by the Frobenius norm of all images together."""
    return images / np.linalg.norm(images)


def _fixed(labels: NDArray[np.int64], generator: np.random.Generator) -> Patterns:
    return np.stack([_placed(label) for label in (0, 1)])[labels]


def _anywhere(labels: NDArray[np.int64], generator: np.random.Generator) -> Patterns:
    images = np.zeros((len(labels), SIDE, SIDE))
    for image, label, turn in zip(images, labels, generator.integers(4, size=len(labels)), strict=True):
        shape = np.rot90(TETROMINOES[label], turn)
        top, left = (int(generator.integers(SIDE - extent + 1)) for extent in shape.shape)
        image[top : top + shape.shape[0], left : left + shape.shape[1]] = shape
    return images


def _signed(labels: NDArray[np.int64], generator: np.random.Generator) -> Patterns:
    first = np.where(np.arange(len(labels)) % 2, 1.0, -1.0)[:, None, None]
    second = first * np.where(labels == 0, 1.0, -1.0)[:, None, None]
    return first * _placed(0) + second * _placed(1)


_PATTERNS: dict[str, Callable[[NDArray[np.int64], np.random.Generator], Patterns]] = {
    "linear": _fixed,
    "multiplicative": _fixed,
    "translations_rotations": _anywhere,
    "xor": _signed,
}


def _placed(label: int) -> Patterns:
    """Return [8,8] with the tetromino of a class in its position."""
    image, (top, left) = np.zeros((SIDE, SIDE)), POSITIONS[label]
    image[top : top + 3, left : left + 2] = TETROMINOES[label]
    return image


def _split_order(
    labels: NDArray[np.int64], generator: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Return the order of the images and the split of each in it; every split has half of either class."""
    chosen: list[list[NDArray[np.int64]]] = [[], [], []]
    for label in (0, 1):
        members = generator.permutation(np.flatnonzero(labels == label))
        ends = np.rint(np.cumsum(_SPLIT_SHARES)[:-1] * len(members)).astype(int)
        for split, part in enumerate(np.split(members, ends)):
            chosen[split].append(part)
    orders = [generator.permutation(np.concatenate(parts)) for parts in chosen]
    splits = np.repeat(np.arange(len(SPLITS), dtype=np.uint8), [len(order) for order in orders])
    return np.concatenate(orders), splits
