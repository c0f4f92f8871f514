"""Folders of small grey images, one folder per concept and one of random images."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 16


def pattern(name: str, generator: np.random.Generator) -> np.ndarray:
    """[16,16] noise with columns, rows or nothing over it."""
    noise = generator.uniform(0.3, 0.7, (SIDE, SIDE))
    waves = 0.25 * np.sign(np.sin(np.pi * (np.arange(SIDE) + 0.5) / 2))
    return noise + {"columns": waves[None], "rows": waves[:, None]}.get(name, 0)


def write_concepts(folder: Path, counts: dict[str, int], seed: int = 0) -> Path:
    """Write so many images of each concept; a name without a pattern gives noise."""
    generator = np.random.default_rng(seed)
    for name, count in counts.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            pixels = (pattern(name, generator) * 255).round().clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number:03d}.png")
    return folder


_HOME = tempfile.TemporaryDirectory(prefix="fervis-concepts-")


@cache
def small_concepts() -> str:
    """A folder for tests over every explainer, removed when the tests end."""
    return str(write_concepts(Path(_HOME.name), {"columns": 6, "noise": 6, "random": 18}))
