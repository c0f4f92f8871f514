"""Portraits drawn by number: any person (``identity``) with any FACS action units, as grey pictures.

Example:
    >>> from fervis.datasets.portraits.identity import draw_identity
    >>> person = draw_identity(seed=0, split=0, numbers=[7])
    >>> smiling = render(person, units(AU6=0.7, AU12=0.9, AU25=0.8))
    >>> smiling.shape, smiling.dtype
    ((1, 48, 48), dtype('uint8'))
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fervis.datasets.portraits.action_units import ACTION_UNIT_NAMES, ACTION_UNITS
from fervis.datasets.portraits.anatomy import Person
from fervis.datasets.portraits.camera import photograph, set_scene
from fervis.datasets.portraits.identity import Identity
from fervis.errors import ConfigError, unknown_name
from fervis.system.progress import progress

RENDERER_VERSION = 1
"""Raised whenever a picture would come out differently, so that cached copies are not confused."""
_BATCH = 32


class _PortraitSize:
    """The sizes that portraits are drawn at; a constraint of ``fervis.core.knobs``."""

    def allows(self, value: Any) -> bool:
        """Whether a size is one of them."""
        return isinstance(value, int) and value % 8 == 0 and 24 <= value <= 192

    def __str__(self) -> str:
        return "a multiple of 8 from 24 to 192"


PORTRAIT_SIZE = _PortraitSize()


def units(**intensities: float) -> NDArray[np.float32]:
    """Return [A] intensities by name, the others 0: ``units(AU12=0.8)``.

    Raises:
        ConfigError: for a name that is not in ``ACTION_UNITS``.
    """
    for name in intensities:
        if name not in ACTION_UNITS:
            raise unknown_name("action unit", name, ACTION_UNITS)
    return np.array([intensities.get(name, 0.0) for name in ACTION_UNIT_NAMES], np.float32)


def render(identity: Identity, action_units: NDArray[np.float32], size: int = 48) -> NDArray[np.uint8]:
    """Draw each person with these action units.

    Args:
        identity: N persons.
        action_units: [N,A] or [A], intensity in [0, 1] of each of ``ACTION_UNIT_NAMES``.
        size: pixels per side, a multiple of 8 from 24 to 192.

    Returns:
        [N,size,size] grey.
    """
    return render_with_truth(identity, action_units, size, evidence=False)[0]


def render_with_truth(
    identity: Identity, action_units: NDArray[np.float32], size: int = 48, *, evidence: bool = True
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.bool_]]:
    """Draw as ``render`` does, and return what is known of the pictures.

    Args:
        identity: N persons.
        action_units: [N,A] or [A], intensity in [0, 1] of each of ``ACTION_UNIT_NAMES``.
        size: pixels per side, a multiple of 8 from 24 to 192.
        evidence: draw each picture again without its action units to see where it changes; else all False.

    Returns:
        [N,size,size] each: the pictures (uint8), the region of each pixel (uint8, index into ``REGIONS``) and the
        pixels that would be different without the action units, all else equal (bool).

    Raises:
        ConfigError: for another size or intensity.
    """
    if not PORTRAIT_SIZE.allows(size):
        raise ConfigError(f"size={size}: expected {PORTRAIT_SIZE}.")
    count = len(identity)
    action_units = np.broadcast_to(np.asarray(action_units, np.float32), (count, len(ACTION_UNIT_NAMES)))
    if not ((action_units >= 0) & (action_units <= 1)).all():
        raise ConfigError(f"action_units={action_units.min():g} to {action_units.max():g}: expected 0 to 1.")
    pictures = np.empty((count, size, size), np.uint8)
    regions, changed = np.empty_like(pictures), np.zeros(pictures.shape, np.bool_)

    def draw(start: int) -> None:
        part = slice(start, start + _BATCH)
        persons, shown = identity.take(part), action_units[part]
        scene = set_scene(persons, size)
        pictures[part], regions[part] = photograph(scene, Person(persons, shown))
        if evidence and shown.any():
            changed[part] = pictures[part] != photograph(scene, Person(persons, np.zeros_like(shown)))[0]

    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        starts = range(0, count, _BATCH)
        list(progress(pool.map(draw, starts), "drawing faces", "batch", total=len(starts)))
    return pictures, regions, changed
