"""Pictures whose file names state person and expression."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from fervis.core.faces import FER2013_CLASSES
from fervis.datasets.images.decode import IMAGE_SUFFIXES
from fervis.datasets.images.records import Record
from fervis.system.hashing import files_below

_EXPRESSION_CODES = {
    **{"AN": "angry", "DI": "disgust", "AF": "fear", "FE": "fear"},
    **{"HA": "happy", "SA": "sad", "SU": "surprise", "NE": "neutral"},
}
"""Two letters of a file name -> FER2013's class."""


def picture_names(root: Path) -> list[str]:
    """Return the relative paths of all pictures below a folder, sorted."""
    return [name for name, _ in files_below(root) if name.lower().endswith(IMAGE_SUFFIXES)] if root.is_dir() else []


def records_by_name(root: Path, pattern: re.Pattern[str]) -> Iterator[tuple[Record, re.Match[str]]]:
    """Yield the pictures whose names match: a pattern's first group is the person, its second the expression."""
    for name in picture_names(root):
        if match := pattern.match(name.rsplit("/", 1)[-1]):
            label = FER2013_CLASSES.index(_EXPRESSION_CODES[match[2].upper()])
            yield Record(name, label, group=match[1].upper()), match
