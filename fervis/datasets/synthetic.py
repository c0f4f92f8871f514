"""Faces drawn by a seeded generator: the seven classes of FER2013 with the truth of what makes each of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fervis.core.faces import FER2013_CLASSES, SPLITS, Faces, Truth
from fervis.datasets.portraits import render
from fervis.datasets.portraits.action_units import ACTION_UNIT_NAMES, CODEBOOK, draw_units
from fervis.datasets.portraits.identity import draw_identity
from fervis.datasets.portraits.paint_layers import REGIONS
from fervis.datasets.portraits.shortcut import draw_mark
from fervis.errors import ConfigError
from fervis.system.cache import cached_tensors

_EXPRESSION, _ORDER, _MARK = 2, 3, 4  # streams of chance beside the identity's own


@dataclass
class SyntheticFaces:
    """Faces of drawn persons, whose expression is built of FACS action units (``fervis.datasets.portraits``).

    Who is drawn and how the picture is taken never depends on the label; no person is in two splits; and asking for
    fewer faces of a split gives the first of them. ``truth.evidence`` is where the picture changes when the action
    units of the class are switched off, all else (the light, the grain, what the face shows at rest) being the same:
    for ``neutral``, which has none, it is empty.

    With ``shortcut`` a mark (``portrait.stamp``) in the upper left corner gives the label away in ``train`` and
    ``val``, and is drawn at random in ``test``: a network that relies on it is right in training for the wrong reason,
    and an honest explainer points to ``portrait.mark_box(size)``. The mark is no part of ``truth.evidence``.
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
                raise ConfigError(f"{name}={getattr(self, name)}: expected a whole number from 0.")
        render.check_size(self.size)

    def files(self) -> list[Path]:
        """None: the faces come from this code."""
        return []

    def load(self, cache: Path) -> Faces:
        """Draw the faces, or read them where they were drawn before; ``train`` comes first, then ``val``, ``test``."""
        counts = (self.per_class_train, self.per_class_val, self.per_class_test)
        question = repr((render.RENDERER_VERSION, CODEBOOK, counts, self.size, self.seed))
        name = f"faces-{render.RENDERER_VERSION}-{hashlib.sha256(question.encode()).hexdigest()[:16]}"

        def draw() -> dict[str, Tensor]:
            parts = [draw_split(self.seed, split, count, self.size) for split, count in enumerate(counts)]
            return {name: torch.from_numpy(np.concatenate([part[name] for part in parts])) for name in parts[0]}

        drawn = cached_tensors([], cache, name, draw)
        images, labels = drawn["images"], drawn["labels"]
        splits = torch.arange(len(SPLITS), dtype=torch.uint8)
        splits = splits.repeat_interleave(torch.tensor(counts) * len(FER2013_CLASSES))
        if self.shortcut:
            images = _with_marks(images, labels, splits, self.seed)
        return Faces(
            images=images[:, None],
            labels=labels,
            rows=torch.arange(len(labels)),
            splits=splits,
            classes=FER2013_CLASSES,
            truth=Truth(
                evidence=drawn["evidence"],
                regions=drawn["regions"],
                region_names=REGIONS,
                action_units=drawn["action_units"],
                action_unit_names=ACTION_UNIT_NAMES,
            ),
        )


def draw_labels(seed: int, split: int, per_class: int) -> NDArray[np.int64]:
    """[7 per_class] labels: every seven faces show the seven classes, in an order of their own."""
    orders = [np.random.default_rng((seed, split, block, _ORDER)).permutation(7) for block in range(per_class)]
    return np.array(orders, np.int64).reshape(-1)


def draw_expressions(seed: int, split: int, labels: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float32]:
    """[N,A] action units of the first N faces of a split."""
    drawn = np.zeros((len(labels), len(ACTION_UNIT_NAMES)), np.float32)
    for number, label in enumerate(labels):
        generator = np.random.default_rng((seed, split, number, _EXPRESSION))
        drawn[number] = draw_units(FER2013_CLASSES[label], generator)
    return drawn


def draw_split(seed: int, split: int, per_class: int, size: int) -> dict[str, NDArray[Any]]:
    """The faces of a split with their truth: images, labels, regions, evidence and action_units."""
    labels = draw_labels(seed, split, per_class)
    persons = draw_identity(seed, split, range(len(labels)))
    action_units = draw_expressions(seed, split, labels)
    images, regions, evidence = render.render_with_truth(persons, action_units, size)
    truth = {"regions": regions, "evidence": evidence, "action_units": action_units}
    return {"images": images, "labels": labels, **truth}


def _with_marks(images: Tensor, labels: Tensor, splits: Tensor, seed: int) -> Tensor:
    images, test = images.clone(), SPLITS.index("test")
    generator = np.random.default_rng((seed, test, 0, _MARK))
    for image, label, split in zip(images, labels.tolist(), splits.tolist(), strict=True):
        draw_mark(image, int(generator.integers(len(FER2013_CLASSES))) if split == test else label)
    return images
