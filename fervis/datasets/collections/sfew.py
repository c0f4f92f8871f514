"""SFEW, Static Facial Expressions in the Wild: frames of films (Dhall et al. 2011, doi:10.1109/ICCVW.2011.6130508)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from fervis.core.faces import FER2013_CLASSES, SPLITS
from fervis.datasets.collections.named import picture_names
from fervis.datasets.fer2013_formats.schema import class_of
from fervis.datasets.images.labelled import LabelledPictures
from fervis.datasets.images.records import Listing, Record, count_note, list_files
from fervis.datasets.paths import layout_error

_SPLIT_FOLDER = re.compile(r"(train|val|test)([ _-].*)?", re.IGNORECASE)
_FRAME_NAME = re.compile(r"(.+?)_\d+(_\d+)*\.\w+")


@dataclass
class Sfew(LabelledPictures):
    """SFEW: ``Train/<class>/``, ``Val/<class>/`` and ``Test/``; classes are FER2013's in FER2013's order.

    Folders such as ``Train_Aligned_Faces`` are the same. Pictures of ``Test`` have the label -1 where no class folder
    holds them. Frames are named by film, such as ``Airheads_000519240_00000005.png``; a split that has no folder is
    drawn from ``train`` by film.
    """

    def listing(self, root: Path) -> Listing:
        """List the frames by their folders."""
        names = picture_names(root)
        records = [record for name in names if (record := _frame_record(name))]
        if not any(record.label >= 0 for record in records):
            raise layout_error(self.path, "SFEW", "Train/<class>/ and Val/<class>/ with pictures")
        others = count_note(len(names) - len(records), "picture", "outside the folders of splits and classes")
        return list_files(root, records, FER2013_CLASSES, others)


def _frame_record(name: str) -> Record | None:
    *folders, file = name.split("/")
    splits = [SPLITS.index(match[1].lower()) for part in folders if (match := _SPLIT_FOLDER.fullmatch(part))]
    word = class_of(folders[-1]) if folders else None
    if not splits or (word is None and splits[0] != SPLITS.index("test")):
        return None
    film = _FRAME_NAME.fullmatch(file)
    return Record(name, -1 if word is None else FER2013_CLASSES.index(word), splits[0], film[1] if film else "")
