"""The FACS action units of each expression, their strength and frequency.

Sources that disagree: EMFACS, Ekman & Friesen's table 11-1 of strongest combinations, and the codebook of Belharbi et
al. (FG 2024). Units that every source names are always drawn here, units that only some name are drawn with a chance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ACTION_UNITS = {
    "AU1": "inner brow raiser",
    "AU2": "outer brow raiser",
    "AU4": "brow lowerer",
    "AU5": "upper lid raiser",
    "AU6": "cheek raiser",
    "AU7": "lid tightener",
    "AU9": "nose wrinkler",
    "AU10": "upper lip raiser",
    "AU12": "lip corner puller",
    "AU15": "lip corner depressor",
    "AU16": "lower lip depressor",
    "AU17": "chin raiser",
    "AU20": "lip stretcher",
    "AU23": "lip tightener",
    "AU24": "lip pressor",
    "AU25": "lips part",
    "AU26": "jaw drop",
    "AU27": "mouth stretch",
}
ACTION_UNIT_NAMES = tuple(ACTION_UNITS)

PART_UNITS = {
    "brows": ("AU1", "AU2", "AU4"),
    "eyes": ("AU5", "AU6", "AU7"),
    "nose": ("AU9",),
    "mouth": ("AU10", "AU12", "AU15", "AU16", "AU17", "AU20", "AU23", "AU24", "AU25", "AU26", "AU27"),
}
"""The parts of an expression, each with its action units; a face is drawn without a part by switching these off."""


@dataclass(frozen=True)
class Unit:
    """One action unit of an expression: on with this chance, its intensity uniform in [low, high]."""

    low: float
    high: float
    chance: float = 1.0


CODEBOOK: dict[str, tuple[dict[str, Unit], ...]] = {
    "angry": (
        {
            "AU4": Unit(0.75, 1.0),
            "AU5": Unit(0.2, 0.5, 0.4),
            "AU7": Unit(0.5, 1.0),
            "AU17": Unit(0.2, 0.5, 0.3),
            "AU23": Unit(0.6, 1.0),
            "AU24": Unit(0.5, 1.0, 0.7),
        },
        {
            "AU4": Unit(0.75, 1.0),
            "AU5": Unit(0.2, 0.5, 0.4),
            "AU7": Unit(0.5, 1.0),
            "AU10": Unit(0.2, 0.5, 0.5),
            "AU23": Unit(0.5, 0.9),
            "AU25": Unit(0.7, 1.0),
            "AU26": Unit(0.3, 0.7),
        },
    ),
    "disgust": (
        {
            "AU4": Unit(0.2, 0.5, 0.4),
            "AU9": Unit(0.7, 1.0),
            "AU10": Unit(0.6, 1.0),
            "AU15": Unit(0.2, 0.6, 0.5),
            "AU16": Unit(0.3, 0.8, 0.4),
            "AU17": Unit(0.3, 0.8, 0.5),
            "AU25": Unit(0.3, 0.7, 0.5),
        },
    ),
    "fear": (
        {
            "AU1": Unit(0.7, 1.0),
            "AU2": Unit(0.3, 0.7),
            "AU4": Unit(0.5, 0.9),
            "AU5": Unit(0.7, 1.0),
            "AU7": Unit(0.2, 0.5, 0.3),
            "AU20": Unit(0.7, 1.0),
            "AU25": Unit(0.5, 1.0),
            "AU26": Unit(0.1, 0.4, 0.5),
        },
    ),
    "happy": (
        {
            "AU6": Unit(0.4, 1.0),
            "AU12": Unit(0.65, 1.0),
            "AU25": Unit(0.6, 1.0, 0.75),
            "AU26": Unit(0.1, 0.4, 0.3),
        },
    ),
    "sad": (
        {
            "AU1": Unit(0.7, 1.0),
            "AU4": Unit(0.4, 0.8),
            "AU6": Unit(0.2, 0.4, 0.2),
            "AU15": Unit(0.6, 1.0),
            "AU17": Unit(0.3, 0.9, 0.6),
        },
    ),
    "surprise": (
        {
            "AU1": Unit(0.7, 1.0),
            "AU2": Unit(0.7, 1.0),
            "AU5": Unit(0.5, 1.0),
            "AU25": Unit(0.6, 1.0),
            "AU26": Unit(0.6, 1.0),
            "AU27": Unit(0.3, 0.9, 0.4),
        },
    ),
    "neutral": ({},),
}
"""Class -> its variants, of which each face shows one with equal chance; each is a table of action units."""


def draw_units(expression: str, generator: np.random.Generator) -> NDArray[np.float32]:
    """Draw the action units of one expression.

    Args:
        expression: a key of ``CODEBOOK``.
        generator: of its randomness; the amount of numbers drawn does not depend on the expression.

    Returns:
        [A] float32, intensity in [0, 1] of each of ``ACTION_UNIT_NAMES``.
    """
    variant, chances, shares = (
        generator.random(),
        generator.random(len(ACTION_UNIT_NAMES)),
        generator.random(len(ACTION_UNIT_NAMES)),
    )
    variants = CODEBOOK[expression]
    units = variants[int(variant * len(variants))]
    drawn = np.zeros(len(ACTION_UNIT_NAMES), np.float32)
    for name, unit in units.items():
        at = ACTION_UNIT_NAMES.index(name)
        if chances[at] < unit.chance:
            drawn[at] = unit.low + (unit.high - unit.low) * shares[at]
    return drawn
