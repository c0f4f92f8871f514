"""Positions of the parts of a face, and how each action unit moves them (Ekman, Friesen & Hager, FACS, 2002).

Lengths are in pixels of a face drawn 48 wide, from the middle between the eyes; v grows downwards and p outwards.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fervis.datasets.portraits.action_units import ACTION_UNIT_NAMES
from fervis.datasets.portraits.identity import Identity
from fervis.datasets.portraits.shapes import Array

_UPPER = frozenset(("AU1", "AU2", "AU4", "AU5", "AU6", "AU7", "AU9"))


@dataclass(frozen=True)
class Person:
    """An identity and its muscles; traits and units come as [N,1,1], to broadcast with a grid.

    Attributes:
        identity: the persons.
        units: [N,A] float32, the expression without the units at rest.
    """

    identity: Identity
    units: Array

    def __len__(self) -> int:
        return len(self.identity)

    def take(self, index: NDArray[np.int64]) -> Person:
        """Return the persons at these positions."""
        return Person(self.identity.take(index), self.units[index])

    def trait(self, name: str) -> Array:
        """Return a trait as [N,1,1]."""
        return self.identity.traits[name][:, None, None]

    def unit(self, name: str, sign: int = 0) -> Array:
        """Return the [N,1,1] intensity of an action unit on the picture's left (-1), right (1) or in the middle (0)."""
        at = ACTION_UNIT_NAMES.index(name)
        value = np.minimum(self.units[:, at] + self.identity.resting[:, at], 1)
        skew = "asymmetry_upper" if name in _UPPER else "asymmetry_lower"
        return (value * (1 + sign * self.identity.traits[skew]))[:, None, None]


@dataclass(frozen=True)
class Brow:
    """One brow: a curve over ``p`` between its inner and its outer end."""

    inner: Array
    outer: Array
    inner_lift: Array
    middle_lift: Array
    outer_lift: Array
    base: Array
    arch: Array
    thick: Array

    def along(self, p: Array) -> Array:
        """Return 0 at the inner end, 1 at the outer."""
        return (p - self.inner) / (self.outer - self.inner)

    def height(self, t: Array) -> Array:
        """Return the v of its middle line at ``t`` along."""
        t = t.clip(-0.1, 1.1)
        s = 1 - t
        rest = self.base - self.arch * (4 * t * s) * (0.55 + 0.9 * t) + 1.1 * t * t
        return rest - self.inner_lift * s * s - self.middle_lift * 2 * t * s - self.outer_lift * t * t


def brow(person: Person, sign: int) -> Brow:
    """Place a brow: AU1 lifts the inner end, AU2 the outer half, AU4 lowers and draws it in, AU9 lowers the inner."""
    t = person.trait
    au1, au2, au4 = (person.unit(name, sign) for name in ("AU1", "AU2", "AU4"))
    au9 = person.unit("AU9", sign)
    inner = 3.9 - 1.7 * au4 + 0.3 * au2 - 0.5 * au9
    tilt = t("brow_tilt")
    return Brow(
        inner=inner,
        outer=inner + t("brow_length") - 0.3 * au4,
        inner_lift=4.6 * au1 + 0.6 * au2 - 3.1 * au4 - 1.7 * au9 + tilt,
        middle_lift=1.2 * au1 + 4.0 * au2 - 2.6 * au4 - 1.3 * au9,
        outer_lift=-0.3 * au1 + 3.0 * au2 - 0.5 * au4 - 0.2 * au9 - tilt,
        base=t("brow_height"),
        arch=t("brow_arch") * (1 - 0.6 * au4) * (1 - 0.5 * au1),
        thick=(0.85 + 0.8 * t("brow_thick") * (1 - 0.45 * t("female"))) * (1 + 0.15 * au4),
    )


@dataclass(frozen=True)
class Eye:
    """One eye: two lids over a ball."""

    p: Array
    v: Array
    half: Array
    upper: Array
    lower: Array
    tilt: Array
    droop: Array
    crease: Array

    def lids(self, q: Array) -> tuple[Array, Array]:
        """Return the v of the upper and the lower lid's edge, ``q`` from -1 (inner corner) to 1 (outer corner)."""
        inside = 1 - q * q
        axis = self.v - self.tilt * q
        top = inside * (1 - 0.22 * q)
        return axis - self.upper * top + self.droop * inside * (q + 0.6), axis + self.lower * inside * (1 + 0.15 * q)


def eye(person: Person, sign: int) -> Eye:
    """AU5 lifts the upper lid off the iris, AU7 straightens the lower, AU6 and AU9 push it up, AU1+4 tilt it."""
    t = person.trait
    names = ("AU1", "AU2", "AU4", "AU5", "AU6", "AU7", "AU9", "AU12")
    au1, au2, au4, au5, au6, au7, au9, au12 = (person.unit(name, sign) for name in names)
    size = t("eye_open")
    sorrow = np.minimum(au1, au4)
    return Eye(
        p=t("eye_spacing") - 0.1 * au9,
        v=0.0 * size,
        half=t("eye_width") - 0.15 * au6,
        upper=1.95 * size + 1.5 * au5 + 0.2 * au2 - 0.35 * au4 - 0.35 * au7 - 0.3 * au6 - 0.65 * au9 - 0.3 * sorrow,
        lower=(1.3 * size + 0.15 * au5 - 0.75 * au7 - 0.85 * au6 - 0.55 * au9 - 0.1 * au12).clip(0.1, None),
        tilt=t("eye_tilt") + 0.2,
        droop=0.55 * sorrow * (1 - au5) + 0.25 * t("age"),
        crease=(1.0 + 0.7 * t("lids") - 0.5 * au4 - 0.5 * au5 + 0.35 * au1).clip(0.35, None),
    )


@dataclass(frozen=True)
class Mouth:
    """One half of the mouth: four curves over ``q`` from 0 in the middle to 1 at the corner."""

    half: Array
    corner: Array
    middle: Array
    sharp: Array
    square: Array
    gap_upper: Array
    gap_lower: Array
    lip_upper: Array
    lip_lower: Array
    bow: Array

    def curves(self, q: Array) -> tuple[Array, Array, Array, Array]:
        """Return the v of the upper lip's upper and lower edge and of the lower lip's upper and lower edge."""
        q2 = q * q
        q4 = q2 * q2
        rest = self.middle + (self.corner - self.middle) * (q2 * (1 - self.sharp) + q4 * self.sharp)
        inside = (1 - q2).clip(0, None)
        opening = inside * (1 - self.square) + (1 - q4 * q2).clip(0, None) * self.square
        upper = rest - self.gap_upper * opening
        lower = rest + self.gap_lower * opening
        body = 1 - q4
        dip = self.bow * (1 - (q / 0.28) ** 2).clip(0, None)
        return upper - self.lip_upper * (1 - 0.75 * q2) * body + dip, upper, lower, lower + self.lip_lower * inside


def mouth(person: Person, sign: int) -> Mouth:
    """Shape half a mouth by the units of the lips and the jaw.

    AU12 pulls the corners up and out, AU15 down, AU20 out, AU10 lifts the upper lip, AU16 lowers the lower lip,
    AU17 pushes it up, AU23 and AU24 narrow the lips, AU25, AU26 and AU27 open the mouth.
    """
    t = person.trait
    moving = ("AU10", "AU12", "AU15", "AU17", "AU20", "AU23", "AU24")
    au10, au12, au15, au17, au20, au23, au24 = (person.unit(name, sign) for name in moving)
    names = ("AU9", "AU10", "AU12", "AU15", "AU16", "AU17", "AU20", "AU23", "AU24", "AU25", "AU26", "AU27")
    m9, m10, m12, m15, m16, m17, m20, m23, m24, m25, m26, m27 = (person.unit(name) for name in names)
    jaw = 4.4 * m26 + 5.6 * m27
    opened = m25 * (0.85 + 1.5 * m12 + 1.3 * m20 + 0.4 * m10 + 0.4 * m23) + 0.12 * jaw
    thin = (1 - 0.55 * m24) * (1 - 0.4 * m23) * (1 - 0.3 * m12 * m25) * (1 - 0.3 * m20) * (1 - 0.25 * m10)
    full = 0.55 + 0.9 * t("lip_full")
    closed = t("mouth_height") - 0.4 * m10 - 0.5 * m9 - 0.9 * m17 + 0.25 * m12 - 0.2 * jaw
    skew = sign * t("mouth_skew")
    return Mouth(
        half=t("mouth_width")
        + 3.0 * au12
        + 1.9 * au20
        - 0.9 * au23
        - 0.5 * au24
        - 0.35 * au17
        + 0.5 * au15
        - 0.35 * m26
        - 1.3 * m27,
        corner=closed
        - t("mouth_curve")
        + skew
        - 3.7 * au12
        + 2.4 * au15
        + 0.9 * au20
        + 0.35 * jaw
        + 0.5 * au10
        + 0.5 * au17,
        middle=closed + 0.5 * m12 * (1 - m25) - 0.35 * m15,
        sharp=(0.25 + 0.45 * m15 - 0.2 * m12).clip(0, 1),
        square=(0.2 + 0.75 * m20 + 0.35 * m16 + 0.45 * m10 + 0.3 * m23 + 0.4 * m12 - 0.3 * m27).clip(0, 1),
        gap_upper=0.55 * opened + 1.15 * m10 * (0.35 + 0.65 * m25) + 0.35 * m9 * m25,
        gap_lower=0.75 * opened + jaw * (0.3 + 0.7 * m25) * 0.95 + 1.0 * m16 + 0.5 * m20 * m25,
        lip_upper=1.45 * full * thin * (1 - 0.2 * m17),
        lip_lower=(2.0 * full * thin + 0.5 * m17 + 0.3 * m16) * (1 - 0.2 * m20),
        bow=0.45 * full * thin * (1 - 0.6 * m12),
    )


def jaw_drop(person: Person) -> Array:
    """Return [N,1,1] by how much AU26 and AU27 lower the chin; AU17 raises it a little."""
    return 2.0 * person.unit("AU26") + 3.0 * person.unit("AU27") - 0.4 * person.unit("AU17")
