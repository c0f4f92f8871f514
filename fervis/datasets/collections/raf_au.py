"""RAF-AU: 4,601 faces with FACS action units (Yan et al. 2020, arXiv:2008.05196)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from fervis.core.faces import FER2013_CLASSES
from fervis.datasets.fer2013_formats.schema import format_error, quote_value
from fervis.datasets.images.labelled import LabelledPictures
from fervis.datasets.images.records import Listing, Record, list_files
from fervis.datasets.paths import first_below, layout_error

_UNIT = re.compile(r"[LR]?(\d+)", re.IGNORECASE)


@dataclass
class RafAu(LabelledPictures):
    """RAF-AU: ``RAFAU_label.txt`` with ``aligned/``, or else ``original/``; the action units are ``truth``.

    Lines are ``0007.jpg 1+2+L12`` or ``0008.jpg null``; a unit of one side (L, R) counts as the unit. Faces have no
    label of an expression: it is -1, and ``classes`` are FER2013's. ``val`` and ``test`` are drawn by picture.
    """

    def listing(self, root: Path) -> Listing:
        """List the faces of ``RAFAU_label.txt``."""
        labels = first_below(root, lambda path: path.name == "RAFAU_label.txt")
        pictures = first_below(root, lambda path: path.name == "aligned" and path.is_dir())
        whole = first_below(root, lambda path: path.name == "original" and path.is_dir())
        folder = pictures or whole
        if labels is None or folder is None:
            raise layout_error(self.path, "RAF-AU", "RAFAU_label.txt with aligned/ or original/")
        records = []
        for number, line in enumerate(labels.read_text(encoding="utf-8").splitlines(), 1):
            if line.strip():
                name, _, codes = line.strip().partition(" ")
                stem, _, ending = name.rpartition(".")
                file = f"{stem}_aligned.{ending}" if pictures else name
                records.append(Record(file, -1, units=_parse_units(labels, codes, number)))
        numbers = sorted({int(unit[2:]) for record in records for unit in record.units})
        return list_files(folder, records, FER2013_CLASSES, unit_names=tuple(f"AU{number}" for number in numbers))


def _parse_units(labels: Path, codes: str, line: int) -> tuple[str, ...]:
    words = [] if codes.strip().lower() == "null" else codes.strip().split("+")
    matches = [_UNIT.fullmatch(word.strip()) for word in words]
    if not all(matches):
        raise format_error(labels, f"expected action units such as 1+2+L12, or null, not {quote_value(codes)}", line)
    return tuple(sorted({f"AU{int(match[1])}" for match in matches if match}))
