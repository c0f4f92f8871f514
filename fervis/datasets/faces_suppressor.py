"""Drawn faces with a suppressor: a distractor that says nothing of the class and yet must be used (Haufe et al. 2014).

A face smiles with the strength s = 1/2 + 0.15 y + 0.35 d. The class y is -1 or 1; the nuisance d, uniform in [-1, 1]
and independent of it, hides it. A smooth band along the upper edge shows d alone. By the smile alone
1/2 + 0.15 / 0.7 = 71.4 % of the classes can be told and by the band none, but y = (s - 1/2 - 0.35 d) / 0.15: who reads
both is always right, with a weight of -7/3 for what carries no information. To mark the band is therefore true to the
network, and yet wrong where only pixels that depend on the class count (Haufe et al.,
doi:10.1016/j.neuroimage.2013.10.067; Wilming et al. 2022, arXiv:2111.07473).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fervis.core.faces import SPLITS, Faces, Truth
from fervis.core.knobs import Choice, Whole
from fervis.datasets.portraits import render
from fervis.datasets.portraits.action_units import ACTION_UNIT_NAMES
from fervis.datasets.portraits.identity import draw_identity
from fervis.datasets.portraits.paint_layers import REGIONS
from fervis.system.cache import cached_tensors

SIGNAL, NUISANCE = 0.15, 0.35
"""By how much class and nuisance change the strength of the smile, about a half."""
SUPPRESSOR_CLASSES = ("less", "more")
"""Whether the face smiles less or more than the nuisance alone would have it."""
SMILE_UNITS = {"AU6": 0.6, "AU12": 1.0, "AU25": 0.8}
"""Intensities of the action units in a smile of strength 1."""
_CONTRAST = 120  # of the band, in grey levels
_NUISANCE_STREAM = 5  # of random numbers; those of other drawn faces come before


@dataclass
class SuppressorFaces:
    """Smiling faces whose class is hidden by a nuisance, which a band beyond the face gives away.

    Each value of the nuisance occurs once with either class, so that the two are exactly independent in every split.

    Attributes:
        per_class_train: faces of each of the two classes in ``train``.
        per_class_val: likewise in ``val``.
        per_class_test: likewise in ``test``.
        size: pixels per side, a multiple of 8 from 24 to 192.
        truth: which pixels are said to matter: those that the ``smile`` changes; or those of the ``distractor``, to
            see how much of a map lies there.
        seed: of all randomness.
    """

    per_class_train: Annotated[int, Whole(0)] = 1000
    per_class_val: Annotated[int, Whole(0)] = 100
    per_class_test: Annotated[int, Whole(0)] = 100
    size: Annotated[int, render.PORTRAIT_SIZE] = 48
    truth: Annotated[str, Choice("smile", "distractor")] = "smile"
    seed: Annotated[int, Whole(0)] = 0

    def files(self) -> list[Path]:
        """Return no file: the faces come from this code."""
        return []

    def load(self, cache: Path) -> Faces:
        """Draw the faces, or read the cached copy; ``train`` comes first, then ``val``, then ``test``."""
        counts = [2 * self.per_class_train, 2 * self.per_class_val, 2 * self.per_class_test]
        drawn = [draw_classes(self.seed, split, count // 2) for split, count in enumerate(counts)]
        labels, nuisance = (np.concatenate(columns) for columns in zip(*drawn, strict=True))
        units = smile_units(labels, nuisance)
        name = f"faces-suppressor-{render.RENDERER_VERSION}-{'-'.join(map(str, counts))}-{self.size}-{self.seed}"
        faces = cached_tensors([], cache, name, lambda: _draw_faces(self.seed, counts, units, self.size))
        band = torch.from_numpy(draw_band(nuisance, self.size))
        images, rows = faces["images"].clone(), band.shape[1]
        images[:, :rows] = band
        evidence = faces["evidence"].clone()
        evidence[:, :rows] = False
        if self.truth == "distractor":
            evidence[:, rows:], evidence[:, :rows] = False, True
        return Faces(
            images=images[:, None],
            labels=torch.from_numpy(labels),
            rows=torch.arange(len(labels)),
            splits=torch.arange(len(SPLITS), dtype=torch.uint8).repeat_interleave(torch.tensor(counts)),
            classes=SUPPRESSOR_CLASSES,
            truth=Truth(evidence, faces["regions"], REGIONS, torch.from_numpy(units), ACTION_UNIT_NAMES),
        )


def draw_classes(seed: int, split: int, per_class: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return [2 per_class] labels and nuisances: pairs of one nuisance with both labels, in a random order."""
    generator = np.random.default_rng((seed, split, 0, _NUISANCE_STREAM))
    first = generator.integers(2, size=per_class)
    return np.stack([first, 1 - first], 1).reshape(-1), np.repeat(generator.uniform(-1, 1, per_class), 2)


def smile_units(labels: NDArray[np.int64], nuisance: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return [N,A] action units of smiles of the strength that labels and nuisances [N] give."""
    strength = 0.5 + SIGNAL * (2 * labels - 1) + NUISANCE * nuisance
    return strength[:, None].astype(np.float32) * render.units(**SMILE_UNITS)


def draw_band(nuisance: NDArray[np.float64], size: int) -> NDArray[np.uint8]:
    """Return [N,size/8,size] the upper rows: grey for a nuisance of 0, brightest or darkest in the middle."""
    profile = np.sin(np.pi * (np.arange(size) + 0.5) / size)
    band = np.rint(128 + _CONTRAST * nuisance[:, None, None] * profile).astype(np.uint8)
    return np.repeat(band, size // 8, axis=1)


def _draw_faces(seed: int, counts: Sequence[int], units: NDArray[np.float32], size: int) -> dict[str, Tensor]:
    """Draw the faces of every split without their bands: images, regions and evidence."""
    parts = []
    for split, of_split in enumerate(np.split(units, np.cumsum(counts)[:-1])):
        identity = draw_identity(seed, split, range(len(of_split)))
        parts.append(render.render_with_truth(identity, of_split, size))
    columns = zip(("images", "regions", "evidence"), zip(*parts, strict=True), strict=True)
    return {name: torch.from_numpy(np.concatenate(column)) for name, column in columns}
