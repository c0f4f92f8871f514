"""KDEF, the Karolinska Directed Emotional Faces: 4,900 pictures of 70 persons (Lundqvist, Flykt and Öhman 1998)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fervis.core.faces import FER2013_CLASSES
from fervis.core.knobs import Choice
from fervis.datasets.collections.named import picture_names, records_by_name
from fervis.datasets.images.labelled import LabelledPictures
from fervis.datasets.images.records import Listing, count_note, list_files
from fervis.datasets.images.splits import KDEF_NAME
from fervis.datasets.paths import layout_error

_ANGLES = {"straight": ("S",), "half": ("S", "HL", "HR"), "all": ("S", "HL", "HR", "FL", "FR")}


@dataclass
class Kdef(LabelledPictures):
    """KDEF: pictures named like ``AF01ANS.JPG``, at any depth; classes are FER2013's in FER2013's order.

    A name is session (A or B), sex and number of the person, expression (AN, DI, AF for afraid, HA, SA, SU, NE) and
    angle. ``val`` and ``test`` are drawn by person, both sessions together.

    Attributes:
        angles: ``straight`` views; these and ``half`` profiles; or ``all``, full profiles too.
    """

    angles: Annotated[str, Choice(*_ANGLES)] = "straight"

    def listing(self, root: Path) -> Listing:
        """List the pictures by their names."""
        named = list(records_by_name(root, KDEF_NAME))
        if not named:
            raise layout_error(self.path, "KDEF", "pictures named like AF01ANS.JPG")
        records = [record for record, match in named if match[3].upper() in _ANGLES[self.angles]]
        turned = count_note(len(named) - len(records), "picture", "from another angle (dataset.angles)")
        others = count_note(len(picture_names(root)) - len(named), "picture", "with another name")
        return list_files(root, records, FER2013_CLASSES, turned + others)
