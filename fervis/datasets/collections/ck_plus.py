"""CK+, the extended Cohn-Kanade data set: 327 labelled sequences (Lucey 2010, doi:10.1109/CVPRW.2010.5543262)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from fervis.core.knobs import Choice, Whole
from fervis.datasets.collections.ck_plus_layouts import list_class_folders, list_sequences, list_table_rows
from fervis.datasets.images.labelled import LabelledPictures
from fervis.datasets.images.records import Listing
from fervis.datasets.paths import first_below, layout_error
from fervis.errors import ConfigError


@dataclass
class CkPlus(LabelledPictures):
    """CK+ in any of three layouts; labels 0 to 7 of ``*_emotion.txt`` are the classes in order.

    ``cohn-kanade-images/S005/001/S005_001_00000011.png`` with ``Emotion/.../S005_001_00000011_emotion.txt``, and
    ``FACS/.../*_facs.txt``, whose action units become ``truth``; ``CK+48/<class>/S005_001_00000011.png``; or
    ``ckextended.csv`` (emotion, pixels, Usage; FER2013's labels and 7 for contempt).

    Frames of one person are nearly alike, so ``val`` and ``test`` are drawn by person. ckextended.csv does not say the
    person, and its Usage parts frames of one sequence: it is refused unless ``splits=file`` asks for that.

    Attributes:
        frames: the last frames of each labelled sequence to take, where whole sequences are there; CK+48 has three.
        neutral: whether the first frame of each labelled sequence is taken as neutral, likewise.
        splits: ``person`` draws them by person; ``file`` takes those of ckextended.csv's Usage as they are.
    """

    frames: Annotated[int, Whole(1)] = 3
    neutral: bool = False
    splits: Annotated[str, Choice("person", "file")] = "person"

    def listing(self, root: Path) -> Listing:
        """Detect the layout and list its faces."""
        table = first_below(root, lambda path: path.name.lower().startswith("ck") and path.suffix.lower() == ".csv")
        if (listing := list_sequences(root, self.frames, self.neutral)) or (listing := list_class_folders(root)):
            return self._checked(listing)
        if table is not None:
            return self._checked(list_table_rows(table))
        expected = "cohn-kanade-images/ with Emotion/, class folders as CK+48 has them, or ckextended.csv"
        raise layout_error(self.path, "CK+", expected)

    def _checked(self, listing: Listing) -> Listing:
        """Refuse frames without persons to draw by, or without the splits of a file."""
        stated = any(record.split >= 0 for record in listing.records)
        if self.splits == "file" and not stated:
            raise ConfigError("dataset.splits=file: these pictures come in no splits; expected person.")
        if self.splits == "person" and stated:
            raise ConfigError(
                f"dataset.path={self.path}: this table does not say whose face a row is, and its Usage is a random "
                "split over CK+'s frames, which tests on persons and sequences that were trained on; expected the "
                "folders of CK+, which say the person, or dataset.splits=file to take it all the same."
            )
        return replace(listing, notes=(*listing.notes, *(["frames of one person are in several splits"] * stated)))
