"""Splits of pictures, as far as no layout says them: drawn by content, or by person where names tell the person."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

import numpy as np

from fervis.core.faces import SPLITS
from fervis.errors import ConfigError

CK_PLUS_NAME = re.compile(r"(S\d{3})_(\d{3})_(\d{8})\b")
"""Person, sequence and frame of a picture of CK+, at the beginning of its file name."""
JAFFE_NAME = re.compile(r"([A-Z]{2})\.(AN|DI|FE|HA|NE|SA|SU)\d*\.\d+\b", re.IGNORECASE)
"""Person and expression of a picture of JAFFE."""
KDEF_NAME = re.compile(r"[AB]([FM]\d\d)(AF|AN|DI|HA|NE|SA|SU)(S|HL|HR|FL|FR)\b", re.IGNORECASE)
"""Person, expression and angle of a picture of KDEF."""
_PERSONS_IN_NAMES = {"CK+": ("ck_plus", CK_PLUS_NAME), "JAFFE": ("jaffe", JAFFE_NAME), "KDEF": ("kdef", KDEF_NAME)}
_TRAIN, _VAL, _TEST = range(len(SPLITS))


def draw_splits(splits: np.ndarray, hashes: np.ndarray, val: float, test: float, seed: int) -> np.ndarray:
    """Give every picture a split: [N] uint8, index into ``SPLITS``.

    A split that no picture has is drawn from ``train`` (or, where the layout says no split, from all). Each draw is a
    hash of the file's bytes and the seed, so it depends on no other picture, and copies go together.

    Args:
        splits: [N], index into ``SPLITS``; -1 where the layout does not say it.
        hashes: [N,32] SHA-256 of each file's bytes.
        val: share of the pictures drawn from that becomes ``val``.
        test: share of the pictures drawn from that becomes ``test``.
        seed: of the draw.
    """
    test, val = missing_shares(splits, val, test)
    drawn = np.where(splits < 0, _TRAIN, splits)
    for position in np.flatnonzero(drawn == _TRAIN):
        share = _draw(seed, hashes[position].tobytes())
        drawn[position] = _TEST if share < test else _VAL if share < test + val else _TRAIN
    return drawn.astype(np.uint8)


def draw_group_splits(splits: np.ndarray, groups: Sequence[str], val: float, test: float, seed: int) -> np.ndarray:
    """Give every picture a split, no group two: [N] uint8, index into ``SPLITS``.

    The groups that are drawn from are ordered by a hash of their name and the seed; the first round(``test`` n) of n,
    but at least one where ``test`` is above 0, become ``test``, and the next likewise ``val``.

    Raises:
        ConfigError: there are too few groups for every split to have one.
    """
    test, val = missing_shares(splits, val, test)
    drawn = np.where(splits < 0, _TRAIN, splits)
    names = sorted(
        {groups[n] for n in np.flatnonzero(drawn == _TRAIN).tolist()}, key=lambda name: _draw(seed, name.encode())
    )
    tests, vals = (max(1, round(share * len(names))) if share else 0 for share in (test, val))
    if (tests or vals) and len(names) < tests + vals + 1:
        raise ConfigError(
            f"dataset.val_fraction={val} and dataset.test_fraction={test}: persons are not parted, and there are "
            f"{len(names)} to draw from; expected at least {tests + vals + 1}."
        )
    of_group = {name: _TEST if n < tests else _VAL if n < tests + vals else _TRAIN for n, name in enumerate(names)}
    for position in np.flatnonzero(drawn == _TRAIN).tolist():
        drawn[position] = of_group[groups[position]]
    return drawn.astype(np.uint8)


def missing_shares(splits: np.ndarray, val: float, test: float) -> tuple[float, float]:
    """Return the shares of ``test`` and ``val`` to draw: 0 for a split that the layout has."""
    present = set(splits.tolist())
    return (0.0 if _TEST in present else test), (0.0 if _VAL in present else val)


def refuse_parted_persons(names: Sequence[str], key: str) -> None:
    """Refuse to draw splits over pictures whose names say that they show the same persons again and again.

    Raises:
        ConfigError: most names are those of CK+, JAFFE or KDEF.
    """
    for title, (plugin, pattern) in _PERSONS_IN_NAMES.items():
        named = [name for name in names if pattern.match(name.rsplit("/", 1)[-1])]
        if 2 * len(named) > len(names):
            raise ConfigError(
                f"{key}: names such as {named[0].rsplit('/', 1)[-1]} are pictures of {title}, many of each person, and "
                f"a random split over them would test on faces that were trained on; ask with dataset={plugin}, which "
                "draws over persons, or make folders for the splits."
            )


def _draw(seed: int, content: bytes) -> float:
    """Return a number in [0, 1) that depends on the seed and the content alone."""
    return int.from_bytes(hashlib.sha256(f"{seed}:".encode() + content).digest()[:8], "big") / 2**64
