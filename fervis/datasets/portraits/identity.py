"""Persons and their photographs: everything about a face except its expression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fervis.datasets.portraits.action_units import ACTION_UNIT_NAMES
from fervis.datasets.portraits.shapes import Array
from fervis.errors import unknown_name


@dataclass(frozen=True)
class Identity:
    """N persons, each in front of their camera.

    Attributes:
        traits: name -> [N] float32; lengths are in pixels of a face drawn 48 wide, angles in radians.
        resting: [N,A] float32, action units at rest, small and the same for every expression.
        seed: [N,2] int64, of the grain of the picture (noise, texture, background).
    """

    traits: Mapping[str, Array]
    resting: Array
    seed: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.resting)

    def take(self, index: NDArray[np.int64] | slice | Sequence[int]) -> Identity:
        """Return the persons at these positions; a position may come more than once."""
        traits = {name: values[index] for name, values in self.traits.items()}
        return Identity(traits, self.resting[index], self.seed[index])

    def but(self, **traits: float) -> Identity:
        """Return the same persons with these traits instead, such as ``glasses=1.0``.

        Raises:
            ConfigError: an unknown trait.
        """
        for name in traits:
            if name not in self.traits:
                raise unknown_name("trait", name, self.traits)
        given = {name: np.full(len(self), value, np.float32) for name, value in traits.items()}
        return Identity({**self.traits, **given}, self.resting, self.seed)


# name: (mean, standard deviation); normal, cut at two and a half deviations
_NORMAL = {
    "head_width": (18.3, 0.9),
    "chin": (30.3, 1.2),
    "hairline": (-13.0, 1.5),
    "eye_spacing": (9.1, 0.45),
    "eye_width": (4.3, 0.3),
    "eye_open": (1.0, 0.1),
    "eye_tilt": (0.0, 0.35),
    "brow_height": (-6.0, 0.7),
    "brow_tilt": (0.0, 0.4),
    "brow_arch": (1.1, 0.5),
    "brow_length": (10.6, 0.7),
    "nose_length": (12.0, 0.8),
    "nose_width": (3.5, 0.4),
    "nose_height": (4.6, 0.8),
    "mouth_height": (21.0, 0.7),
    "mouth_width": (7.3, 0.6),
    "mouth_curve": (0.0, 0.4),
    "mouth_skew": (0.0, 0.3),
    "gaze_x": (0.0, 0.6),
    "gaze_y": (0.0, 0.25),
    "asymmetry_upper": (0.0, 0.09),
    "asymmetry_lower": (0.0, 0.09),
    "roll": (0.0, 0.12),
    "yaw": (0.0, 0.25),
    "pitch": (0.0, 0.12),
    "scale": (1.0, 0.06),
    "shift_x": (0.0, 1.6),
    "shift_y": (0.0, 1.3),
}
# name: (low, high); uniform
_UNIFORM = {
    "female": (0.0, 1.0),
    "age": (0.0, 1.0),
    "jaw": (0.0, 1.0),
    "skin": (0.36, 0.88),
    "hair_tone": (0.0, 1.0),
    "hair_style": (0.0, 1.0),  # short, receding, bald, fringe, parted, long, curly
    "hair_volume": (0.0, 1.0),
    "hair_side": (-1.0, 1.0),
    "brow_thick": (0.0, 1.0),
    "brow_dark": (0.45, 0.95),
    "iris": (0.08, 0.4),
    "lids": (0.0, 1.0),
    "makeup": (0.0, 1.0),
    "lip_full": (0.0, 1.0),
    "lip_dark": (0.0, 1.0),
    "beard": (0.0, 1.0),
    "beard_kind": (0.0, 1.0),
    "glasses": (0.0, 1.0),
    "glasses_shape": (0.0, 1.0),
    "hat": (0.0, 1.0),
    "hat_tone": (0.05, 0.9),
    "hand": (0.0, 1.0),
    "hand_place": (0.0, 1.0),
    "hand_turn": (-1.0, 1.0),
    "watermark": (0.0, 1.0),
    "watermark_place": (0.0, 1.0),
    "watermark_tone": (0.0, 1.0),
    "light_x": (-0.85, 0.85),
    "light_y": (-0.95, 0.05),
    "ambient": (0.3, 0.65),
    "gloss": (0.0, 1.0),
    "background": (0.0, 1.0),
    "background_tone": (0.05, 0.95),
    "background_turn": (0.0, 6.2832),
    "background_depth": (0.0, 0.5),
    "shirt": (0.05, 0.95),
    "exposure": (0.82, 1.18),
    "contrast": (-0.25, 0.5),
    "blur": (0.0, 1.0),
    "noise": (0.0, 1.0),
}
# chance that a unit is slightly on at rest
_AT_REST = {"AU1": 0.25, "AU2": 0.25, "AU4": 0.25, "AU6": 0.1, "AU7": 0.25, "AU12": 0.2, "AU15": 0.2, "AU17": 0.1}
_REST_HIGH = 0.22


def draw_identity(seed: int, split: int, numbers: Sequence[int] | range) -> Identity:
    """Draw the persons with these numbers. A person depends on seed, split and number alone, and on no label.

    Args:
        seed: of the data set.
        split: number of the split, so that no person is in two.
        numbers: of the persons within the split.

    Returns:
        The persons in the order of ``numbers``.
    """
    normal = np.empty((len(numbers), len(_NORMAL)))
    uniform = np.empty((len(numbers), len(_UNIFORM)))
    rest = np.empty((2, len(numbers), len(ACTION_UNIT_NAMES)))
    for at, number in enumerate(numbers):
        generator = np.random.default_rng((seed, split, number, 0))
        generator.standard_normal(out=normal[at])
        generator.random(out=uniform[at])
        generator.random(out=rest[0, at])
        generator.random(out=rest[1, at])
    normal = normal.clip(-2.5, 2.5)
    traits = {name: mean + sd * normal[:, k] for k, (name, (mean, sd)) in enumerate(_NORMAL.items())}
    traits |= {name: low + (high - low) * uniform[:, k] for k, (name, (low, high)) in enumerate(_UNIFORM.items())}
    chances = np.array([_AT_REST.get(name, 0.0) for name in ACTION_UNIT_NAMES])
    resting = np.where(rest[0] < chances, _REST_HIGH * rest[1], 0.0)
    seeds = np.array([(seed * 4 + split, number) for number in numbers], np.int64).reshape(-1, 2)
    return Identity({k: v.astype(np.float32) for k, v in traits.items()}, resting.astype(np.float32), seeds)
