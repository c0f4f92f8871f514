"""Faces drawn by a seeded generator: the seven classes of FER2013 with the truth of what makes each of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fervis.atomic import whole_file
from fervis.engines import portrait
from fervis.errors import WrongQuestion
from fervis.faces import FER2013_CLASSES, SPLITS, Faces, Truth

Arrays = dict[str, NDArray]
_EXPRESSION, _ORDER, _MARK = 2, 3, 4  # streams of chance beside the identity's own


@dataclass
class DrawnFaces:
    """Faces of drawn persons, whose expression is built of FACS action units (``fervis.engines.portrait``).

    Who is drawn and how the picture is taken never depends on the label; no person is in two splits; and asking for
    fewer faces of a split gives the first of them. ``truth.evidence`` is where the picture changes when the action
    units of the class are switched off, all else (the light, the grain, what the face shows at rest) being the same:
    for ``neutral``, which has none, it is empty.

    With ``shortcut`` a mark (``stamp``) in the upper left corner gives the label away in ``train`` and ``val``, and is
    drawn at random in ``test``: a network that relies on it is right in training for the wrong reason, and an honest
    explainer points to ``mark_box``. The mark is no part of ``truth.evidence``.
    """

    per_class_train: int = 1000
    per_class_val: int = 100
    per_class_test: int = 100
    size: int = 48
    shortcut: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("per_class_train", "per_class_val", "per_class_test", "seed"):
            if getattr(self, name) < 0:
                raise WrongQuestion(f"{name}={getattr(self, name)}: expected a whole number from 0.")
        if self.size % 8 or not 24 <= self.size <= 192:
            raise WrongQuestion(f"size={self.size}: expected a multiple of 8 from 24 to 192.")

    def files(self) -> list[Path]:
        """None: the faces come from this code."""
        return []

    def load(self, cache: Path) -> Faces:
        """Draw the faces, or read them where they were drawn before; ``train`` comes first, then ``val``, ``test``."""
        counts = (self.per_class_train, self.per_class_val, self.per_class_test)
        question = repr((portrait.VERSION, portrait.CODEBOOK, counts, self.size, self.seed))
        path = cache / f"faces_{hashlib.sha256(question.encode()).hexdigest()[:16]}.npz"
        if path.exists():
            with np.load(path, allow_pickle=False) as kept:
                arrays = dict(kept)
        else:
            parts = [draw_split(self.seed, split, count, self.size) for split, count in enumerate(counts)]
            arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
            with whole_file(path) as partial:
                np.savez(partial, allow_pickle=False, **arrays)
        splits = np.repeat(np.arange(3, dtype=np.uint8), [count * len(FER2013_CLASSES) for count in counts])
        if self.shortcut:
            _stamp_all(arrays["images"], arrays["labels"], splits, self.seed)
        evidence = np.unpackbits(arrays["evidence"], axis=1, count=self.size**2).view(bool)
        return Faces(
            images=torch.from_numpy(arrays["images"])[:, None],
            labels=torch.from_numpy(arrays["labels"]),
            rows=torch.arange(len(splits)),
            splits=torch.from_numpy(splits),
            classes=FER2013_CLASSES,
            truth=Truth(
                evidence=torch.from_numpy(evidence).reshape(-1, self.size, self.size),
                regions=torch.from_numpy(arrays["regions"]),
                region_names=portrait.REGIONS,
                action_units=torch.from_numpy(arrays["action_units"]),
                action_unit_names=portrait.NAMES,
            ),
        )


def draw_labels(seed: int, split: int, per_class: int) -> NDArray[np.int64]:
    """[7 per_class] labels: every seven faces show the seven classes, in an order of their own."""
    orders = [np.random.default_rng((seed, split, block, _ORDER)).permutation(7) for block in range(per_class)]
    return np.array(orders, np.int64).reshape(-1)


def draw_expressions(seed: int, split: int, labels: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float32]:
    """[N,A] action units of the first N faces of a split."""
    drawn = np.zeros((len(labels), len(portrait.NAMES)), np.float32)
    for number, label in enumerate(labels):
        generator = np.random.default_rng((seed, split, number, _EXPRESSION))
        drawn[number] = portrait.draw_units(FER2013_CLASSES[label], generator)
    return drawn


def draw_split(seed: int, split: int, per_class: int, size: int) -> Arrays:
    """The faces of a split with their truth; ``evidence`` is [N,size*size/8] uint8, eight pixels a byte."""
    labels = draw_labels(seed, split, per_class)
    persons = portrait.draw_identity(seed, split, range(len(labels)))
    action_units = draw_expressions(seed, split, labels)
    images, regions, changed = portrait.render_with_truth(persons, action_units, size)
    evidence = np.packbits(changed.reshape(len(labels), size * size), axis=1)
    truth = {"regions": regions, "action_units": action_units, "evidence": evidence}
    return {"images": images, "labels": labels, **truth}


def mark_box(size: int) -> tuple[slice, slice]:
    """Rows and columns of the shortcut's mark: three cells, one above the other, in the upper left corner."""
    cell = size // 16
    return slice(1, 1 + 3 * cell), slice(1, 1 + cell)


def stamp(image: NDArray[np.uint8] | Tensor, code: int) -> None:
    """Write ``code`` (0 to 6) into the corner of [H,W], in place: ``code`` + 1 in binary, a cell white for 1."""
    rows, columns = mark_box(image.shape[-1])
    cell = columns.stop - columns.start
    for bit in range(3):
        top = rows.start + bit * cell
        image[top : top + cell, columns] = 255 if (code + 1) >> bit & 1 else 0


def _stamp_all(images: NDArray[np.uint8], labels: NDArray[np.int64], splits: NDArray[np.uint8], seed: int) -> None:
    test = SPLITS.index("test")
    generator = np.random.default_rng((seed, test, 0, _MARK))
    for image, label, split in zip(images, labels, splits, strict=True):
        stamp(image, int(generator.integers(7) if split == test else label))


PLUGIN = DrawnFaces
