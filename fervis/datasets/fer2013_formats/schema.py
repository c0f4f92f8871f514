"""Shared by the readers of FER2013's layouts: their result, the official counts and the error of a damaged file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fervis.core.faces import FER2013_CLASSES, SPLITS
from fervis.errors import ConfigError, nearest_name

FACE_SIDE = 48
FACE_PIXELS = FACE_SIDE * FACE_SIDE
UNLABELLED = -1
USAGES = ("Training", "PublicTest", "PrivateTest")
"""FER2013's names of ``fervis.core.faces.SPLITS``, in that order."""

OFFICIAL_COUNTS = {
    "train": (3995, 436, 4097, 7215, 4830, 3171, 4965),
    "val": (467, 56, 496, 895, 653, 415, 607),
    "test": (491, 55, 528, 879, 594, 416, 626),
}
"""Images of each class (in ``FER2013_CLASSES`` order) in each split of the original."""

OFFICIAL_SIZES = {split: sum(counts) for split, counts in OFFICIAL_COUNTS.items()}
"""28,709, 3,589 and 3,589; in the original file the splits follow one another in this order."""

SYNONYMS = {
    "angry": ("anger",),
    "disgust": ("disgusted",),
    "fear": ("fearful", "afraid"),
    "happy": ("happiness", "joy"),
    "sad": ("sadness",),
    "surprise": ("surprised",),
    "neutral": ("neutrality",),
}
_CLASS_OF = {word: name for name, words in SYNONYMS.items() for word in (name, *words)}


@dataclass(frozen=True)
class Parsed:
    """Faces as a reader of a layout returns them.

    Attributes:
        images: [N,48,48] uint8.
        labels: [N] int64, index into ``FER2013_CLASSES``; -1 where the layout has no labels.
        rows: [N] int64, number in fer2013.csv.
        splits: [N] uint8, index into ``SPLITS``.
        votes: [N,10] uint8, votes of FER+ where the layout has them.
    """

    images: np.ndarray
    labels: np.ndarray
    rows: np.ndarray
    splits: np.ndarray
    votes: np.ndarray | None = None


def class_of(word: str) -> str | None:
    """Return FER2013's name of a class under any of its usual names, such as ``happy`` for ``Happiness``; or None."""
    return _CLASS_OF.get(word.strip().lower())


def format_error(path: Path, reason: str, line: int | None = None) -> ConfigError:
    """Return the error of a file: its name, the line (from 1) and the reason."""
    return ConfigError(f"{path}{'' if line is None else f', line {line}'}: {reason}.")


def split_of_usage(path: Path, usage: str, line: int | None = None) -> int:
    """Return the index into ``SPLITS`` of FER2013's word for a split, such as ``PublicTest``."""
    word = usage.strip().strip('"').lower()
    for index, known in enumerate(USAGES):
        if word == known.lower():
            return index
    meant = nearest_name(usage, USAGES).rstrip("?").replace(" Did you mean ", "; perhaps ")
    raise format_error(path, f"Usage {quote_value(usage)} is none of {', '.join(USAGES)}{meant}", line)


def quote_value(text: str, limit: int = 24) -> str:
    """Quote a value of a file, shortened where it is long."""
    return f'"{text if len(text) <= limit else text[: limit - 3] + "..."}"'


def class_counts(labels: np.ndarray) -> tuple[int, ...]:
    """Count the labels of each of the seven classes."""
    return tuple(np.bincount(labels[labels >= 0], minlength=len(FER2013_CLASSES)).tolist())


def split_index(name: str) -> int:
    """Return the index of a split's name."""
    return SPLITS.index(name)
