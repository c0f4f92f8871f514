"""ExpW, the Expression in-the-Wild data set: 91,793 faces (Zhang et al. 2018, arXiv:1609.06426)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fervis.core.faces import FER2013_CLASSES
from fervis.datasets.fer2013_formats.schema import format_error
from fervis.datasets.images.labelled import LabelledPictures
from fervis.datasets.images.records import Listing, Record, list_files
from fervis.datasets.paths import first_below, layout_error


@dataclass
class ExpW(LabelledPictures):
    """ExpW: ``label/label.lst`` with ``image/origin/``; labels 0 to 6 are FER2013's classes in FER2013's order.

    The boxes of ``label.lst`` (top, left, right, bottom) are cut out; of a picture with several faces each is one.
    There are no official splits: ``val`` and ``test`` are drawn by picture, so that faces of one are never parted.
    """

    def listing(self, root: Path) -> Listing:
        """List the faces of ``label.lst``."""
        labels = first_below(root, lambda path: path.name == "label.lst")
        if labels is None:
            raise layout_error(self.path, "ExpW", "label/label.lst with image/origin/")
        base = labels.parent.parent
        lines = labels.read_text(encoding="utf-8").splitlines()
        return list_files(
            base,
            [_face_record(labels, number, line) for number, line in enumerate(lines, 1) if line.strip()],
            FER2013_CLASSES,
        )


def _face_record(labels: Path, number: int, line: str) -> Record:
    try:
        name, _, top, left, right, bottom, _, label = line.split()
        box = (float(left), float(top), float(right), float(bottom))
        index = int(label)
    except ValueError as error:
        fields = "image_name face_id top left right bottom confidence label"
        raise format_error(labels, f"expected {fields}", number) from error
    if not 0 <= index < len(FER2013_CLASSES):
        raise format_error(labels, f"the label {index} is none of 0 to {len(FER2013_CLASSES) - 1}", number)
    return Record(f"image/origin/{name}", index, box=box)
