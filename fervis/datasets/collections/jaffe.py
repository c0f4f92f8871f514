"""JAFFE: 213 pictures of ten Japanese women (Lyons, Kamachi and Gyoba 1998, doi:10.5281/zenodo.3451524)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fervis.core.faces import FER2013_CLASSES
from fervis.datasets.collections.named import picture_names, records_by_name
from fervis.datasets.images.labelled import LabelledPictures
from fervis.datasets.images.records import Listing, count_note, list_files
from fervis.datasets.images.splits import JAFFE_NAME
from fervis.datasets.paths import layout_error


@dataclass
class Jaffe(LabelledPictures):
    """JAFFE: pictures named like ``KA.AN1.39.tiff``, at any depth; classes are FER2013's in FER2013's order.

    The first letters of a name are the person and the next two the expression: AN, DI, FE, HA, SA, SU, NE. ``val`` and
    ``test`` are drawn by person.
    """

    def listing(self, root: Path) -> Listing:
        """List the pictures by their names."""
        records = [record for record, _ in records_by_name(root, JAFFE_NAME)]
        if not records:
            raise layout_error(self.path, "JAFFE", "pictures named like KA.AN1.39.tiff")
        others = count_note(len(picture_names(root)) - len(records), "picture", "with another name")
        return list_files(root, records, FER2013_CLASSES, others)
