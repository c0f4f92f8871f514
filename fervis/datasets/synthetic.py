"""Faces drawn by a seeded generator: the seven classes of FER2013, with the truth of what makes each of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fervis.core.faces import FER2013_CLASSES, SPLITS, Faces, Truth
from fervis.core.knobs import Choice, Whole
from fervis.datasets.portraits import render
from fervis.datasets.portraits.action_units import ACTION_UNIT_NAMES, CODEBOOK, draw_units
from fervis.datasets.portraits.identity import draw_identity
from fervis.datasets.portraits.paint_layers import REGIONS
from fervis.datasets.portraits.shortcut import draw_mark, mark_box
from fervis.errors import ConfigError
from fervis.system.cache import cached_tensors

_EXPRESSION, _ORDER, _MARK = 2, 3, 4  # random streams; 0 and 1 are those of identity and camera


@dataclass
class SyntheticFaces:
    """Faces of drawn persons, whose expressions are built of FACS action units (``fervis.datasets.portraits``).

    Person, light and camera never depend on the label; no person is in two splits; and fewer faces of a split are the
    first of more. ``truth.evidence`` is where the picture changes when the action units of the class are switched off
    and everything else stays (the light, the grain, the face at rest): for ``neutral``, which has none, it is empty.

    Attributes:
        per_class_train: faces of each class in ``train``.
        per_class_val: the same for ``val``.
        per_class_test: the same for ``test``.
        size: pixels per side, a multiple of 8 from 24 to 192.
        shortcut: whether a mark (``portraits.shortcut.draw_mark``) in the upper left corner gives the label away in
            ``train`` and ``val`` and is drawn at random in ``test``: a network that relies on it is right in training
            for the wrong reason, and a faithful explanation points to ``portraits.shortcut.mark_box(size)``.
        truth: what ``truth.evidence`` is: the ``expression``, as above, of which the mark is no part; or the ``mark``
            of the shortcut, which a network that has learned it looks at.
        seed: of all randomness.
    """

    per_class_train: Annotated[int, Whole(0)] = 1000
    per_class_val: Annotated[int, Whole(0)] = 100
    per_class_test: Annotated[int, Whole(0)] = 100
    size: Annotated[int, render.PORTRAIT_SIZE] = 48
    shortcut: bool = False
    truth: Annotated[str, Choice("expression", "mark")] = "expression"
    seed: Annotated[int, Whole(0)] = 0

    def __post_init__(self) -> None:
        if self.truth == "mark" and not self.shortcut:
            raise ConfigError("dataset.truth=mark: there is no mark; expected dataset.shortcut=true beside it.")

    def files(self) -> list[Path]:
        """Return no file: the faces come from this code."""
        return []

    def load(self, cache: Path) -> Faces:
        """Draw the faces, or read the cached copy; ``train`` comes first, then ``val``, then ``test``."""
        counts = (self.per_class_train, self.per_class_val, self.per_class_test)
        settings = repr((render.RENDERER_VERSION, CODEBOOK, counts, self.size, self.seed))
        name = f"faces-{render.RENDERER_VERSION}-{hashlib.sha256(settings.encode()).hexdigest()[:16]}"

        def draw() -> dict[str, Tensor]:
            parts = [draw_split(self.seed, split, count, self.size) for split, count in enumerate(counts)]
            return {name: torch.from_numpy(np.concatenate([part[name] for part in parts])) for name in parts[0]}

        drawn = cached_tensors([], cache, name, draw)
        images, labels, evidence = drawn["images"], drawn["labels"], drawn["evidence"]
        splits = torch.arange(len(SPLITS), dtype=torch.uint8)
        splits = splits.repeat_interleave(torch.tensor(counts) * len(FER2013_CLASSES))
        if self.shortcut:
            images = _with_marks(images, labels, splits, self.seed)
        if self.truth == "mark":
            evidence = torch.zeros_like(evidence)
            evidence[(slice(None), *mark_box(self.size))] = True
        return Faces(
            images=images[:, None],
            labels=labels,
            rows=torch.arange(len(labels)),
            splits=splits,
            classes=FER2013_CLASSES,
            truth=Truth(
                evidence=evidence,
                regions=drawn["regions"],
                region_names=REGIONS,
                action_units=drawn["action_units"],
                action_unit_names=ACTION_UNIT_NAMES,
                persons=_persons(counts),
                redraw=None if self.shortcut else partial(redraw, self.seed, self.size),
            ),
        )


def draw_labels(seed: int, split: int, per_class: int) -> NDArray[np.int64]:
    """Return [7 per_class] labels: every seven faces show the seven classes, in a random order."""
    orders = [np.random.default_rng((seed, split, block, _ORDER)).permutation(7) for block in range(per_class)]
    return np.array(orders, np.int64).reshape(-1)


def draw_expressions(seed: int, split: int, labels: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float32]:
    """Return [N,A] action units of the first N faces of a split."""
    drawn = np.zeros((len(labels), len(ACTION_UNIT_NAMES)), np.float32)
    for number, label in enumerate(labels):
        generator = np.random.default_rng((seed, split, number, _EXPRESSION))
        drawn[number] = draw_units(FER2013_CLASSES[label], generator)
    return drawn


def draw_split(seed: int, split: int, per_class: int, size: int) -> dict[str, NDArray[Any]]:
    """Draw a split with its truth: images, labels, regions, evidence and action_units."""
    labels = draw_labels(seed, split, per_class)
    persons = draw_identity(seed, split, range(len(labels)))
    action_units = draw_expressions(seed, split, labels)
    images, regions, evidence = render.render_with_truth(persons, action_units, size)
    truth = {"regions": regions, "evidence": evidence, "action_units": action_units}
    return {"images": images, "labels": labels, **truth}


def redraw(seed: int, size: int, persons: Tensor, action_units: Tensor) -> Tensor:
    """Draw persons again with other action units, all else equal.

    Args:
        seed: of the data set.
        size: pixels per side.
        persons: [M,2] split and number of each.
        action_units: [M,A] intensities.

    Returns:
        [M,size,size] uint8.
    """
    unique, index = torch.cat([persons.double(), action_units.double()], 1).unique(dim=0, return_inverse=True)
    return _redrawn(seed, size, unique[:, :2].long().numpy().tobytes(), unique[:, 2:].float().numpy().tobytes())[index]


@lru_cache(maxsize=8)
def _redrawn(seed: int, size: int, persons: bytes, action_units: bytes) -> Tensor:
    """Draw as ``redraw`` does; several measures and methods ask for the same pictures."""
    numbers = np.frombuffer(persons, np.int64).reshape(-1, 2)
    units = np.frombuffer(action_units, np.float32).reshape(len(numbers), -1)
    pictures = np.empty((len(numbers), size, size), np.uint8)
    for split in np.unique(numbers[:, 0]):
        chosen = numbers[:, 0] == split
        identity = draw_identity(seed, int(split), numbers[chosen, 1].tolist())
        pictures[chosen] = render.render(identity, units[chosen], size)
    return torch.from_numpy(pictures)


def _persons(counts: Sequence[int]) -> Tensor:
    """Return [N,2] the split and the number within it of each face."""
    splits = [torch.full((count * len(FER2013_CLASSES),), split) for split, count in enumerate(counts)]
    return torch.cat([torch.stack([split, torch.arange(len(split))], 1) for split in splits])


def _with_marks(images: Tensor, labels: Tensor, splits: Tensor, seed: int) -> Tensor:
    images, test = images.clone(), SPLITS.index("test")
    generator = np.random.default_rng((seed, test, 0, _MARK))
    for image, label, split in zip(images, labels.tolist(), splits.tolist(), strict=True):
        draw_mark(image, int(generator.integers(len(FER2013_CLASSES))) if split == test else label)
    return images
