"""Pictures in class folders: the class and the split of each, their pixels, and splits drawn from content."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from fervis.core.faces import FER2013_CLASSES, SPLITS
from fervis.datasets.fer2013_formats.schema import class_of
from fervis.datasets.images.decode import IMAGE_SUFFIXES, decode_image, refuse_unreadable
from fervis.errors import ConfigError
from fervis.system.hashing import files_below
from fervis.system.progress import progress

_SPLIT_NAMES = (
    re.compile(r"train(ing)?([ _-]?set)?", re.IGNORECASE),
    re.compile(r"(val(id(ation)?)?|dev)([ _-]?set)?|public.*", re.IGNORECASE),
    re.compile(r"test(ing)?([ _-]?set)?|private.*", re.IGNORECASE),
)
"""Names of the folders of ``SPLITS``, in that order."""
_TARGET_WORDS = ("all", "auto", "label", "predicted")
"""Values of ``target=`` other than classes; a class of such a name could not be chosen."""


@dataclass(frozen=True)
class Tree:
    """The pictures below a folder, sorted by relative path.

    Attributes:
        names: relative paths, ``/`` between the parts.
        labels: [N] int64, index into ``classes``.
        splits: [N] int64, index into ``SPLITS``; all -1 where no folder states the split.
        classes: names of the classes.
    """

    names: tuple[str, ...]
    labels: np.ndarray
    splits: np.ndarray
    classes: tuple[str, ...]


def read_tree(root: Path, key: str) -> Tree:
    """Find ``<class>/**/<picture>`` or ``<split>/<class>/**/<picture>`` below ``root``.

    Where all seven classes of FER2013 are there, under any of their usual names, they stand first, in FER2013's order
    and under FER2013's names; all other classes are in alphabetical order.

    Args:
        root: the folder.
        key: the knob that named it, for error messages.

    Raises:
        ConfigError: where there is no such picture, a class is next to the folders of the splits, or has a name that
            ``target=`` reserves for something else.
    """
    paths = [name.split("/") for name, _ in files_below(root) if name.lower().endswith(IMAGE_SUFFIXES)]
    split_of = {path[0]: split_named(path[0]) for path in paths if len(path) > 1}
    has_splits = any(split is not None for split in split_of.values())
    inside = 2 if has_splits else 1
    words: list[str] = []
    for path in paths:
        if has_splits and split_of.get(path[0], 0) is None:
            raise ConfigError(
                f"{key}={root}: the folder {path[0]} is next to folders named by splits and is named by none "
                f"(train, val, test)."
            )
        if len(path) <= inside:
            raise ConfigError(f"{key}={root}: the picture {'/'.join(path)} is in no folder named by its class.")
        words.append(path[inside - 1])
    if not paths:
        kinds = ", ".join(ending[1:] for ending in IMAGE_SUFFIXES[:6])
        raise ConfigError(f"{key}={root}: no class folder holds a picture ({kinds}, ...).")
    if taken := sorted(set(words) & set(_TARGET_WORDS)):
        raise ConfigError(
            f"{key}={root}: the class folder {taken[0]} has a name that target= reserves for something else "
            f"({', '.join(_TARGET_WORDS)}); rename it."
        )
    classes, names = _class_order(set(words))
    splits = [split_of[path[0]] if has_splits else None for path in paths]
    return Tree(
        tuple("/".join(path) for path in paths),
        np.array([classes.index(names[word]) for word in words], np.int64),
        np.array([-1 if split is None else split for split in splits], np.int64),
        classes,
    )


def split_named(folder: str) -> int | None:
    """Return the index into ``SPLITS`` of a folder's name such as ``validation``, or None."""
    return next((index for index, names in enumerate(_SPLIT_NAMES) if names.fullmatch(folder)), None)


def read_pictures(root: Path, names: Sequence[str], size: int, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Decode pictures: [N,C,size,size] uint8, and the SHA-256 of each file's bytes as [N,32] uint8.

    The shorter side is brought to ``size`` (bilinear over the pixels it covers, so that shrinking does not alias), the
    aspect stays, and the longer side is cropped to its middle. A picture of that size is unchanged.

    Raises:
        ConfigError: where files are no whole pictures: all of them by name, with the reasons.
    """
    images = np.empty((len(names), channels, size, size), np.uint8)
    hashes = np.empty((len(names), 32), np.uint8)
    errors: list[ConfigError] = []
    for position, name in enumerate(progress(names, root.name, "face")):
        data = (root / name).read_bytes()
        try:
            image = decode_image(root / name, channels, data)
        except ConfigError as error:
            errors.append(error)
            continue
        if image.size != (size, size):
            image = ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)
        images[position] = np.asarray(image).reshape(size, size, channels).transpose(2, 0, 1)
        hashes[position] = np.frombuffer(hashlib.sha256(data).digest(), np.uint8)
    refuse_unreadable(errors)
    return images, hashes


def draw_splits(splits: np.ndarray, hashes: np.ndarray, val: float, test: float, seed: int) -> np.ndarray:
    """Give every picture a split: [N] uint8, index into ``SPLITS``.

    A split that has no folder is drawn from ``train`` (or, where no folder states the split, from all). Each draw is a
    hash of the file's bytes and the seed, so it depends on no other picture, and copies go together.

    Args:
        splits: [N] as in ``Tree``.
        hashes: [N,32] as ``read_pictures`` returns them.
        val: share of the pictures drawn from that becomes ``val``.
        test: share of the pictures drawn from that becomes ``test``.
        seed: of the draw.
    """
    present = set(splits.tolist())
    train, val_at, test_at = range(len(SPLITS))
    test = 0.0 if test_at in present else test
    val = 0.0 if val_at in present else val
    drawn = np.where(splits < 0, train, splits)
    for position in np.flatnonzero(drawn == train):
        digest = hashlib.sha256(f"{seed}:".encode() + hashes[position].tobytes()).digest()
        share = int.from_bytes(digest[:8], "big") / 2**64
        drawn[position] = test_at if share < test else val_at if share < test + val else train
    return drawn.astype(np.uint8)


def _class_order(words: set[str]) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return the classes in order, and the class of each folder name."""
    canonical = {word: class_of(word) or word for word in words}
    if not set(FER2013_CLASSES) <= set(canonical.values()):
        return tuple(sorted(words)), {word: word for word in words}
    others = sorted(set(canonical.values()) - set(FER2013_CLASSES))
    return (*FER2013_CLASSES, *others), canonical
