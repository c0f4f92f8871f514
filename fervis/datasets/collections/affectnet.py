"""AffectNet: faces from the web in eight expressions (Mollahosseini et al. 2019, arXiv:1708.03985)."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fervis.core.faces import SPLITS
from fervis.datasets.fer2013_formats.schema import format_error, quote_value
from fervis.datasets.images.decode import IMAGE_SUFFIXES
from fervis.datasets.images.labelled import LabelledPictures
from fervis.datasets.images.records import Listing, Record, count_note, list_files
from fervis.datasets.paths import first_below, layout_error
from fervis.system.hashing import files_below

AFFECTNET_CLASSES = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "angry", "contempt")
"""In the order of AffectNet's labels 0 to 7."""
_OTHER_LABELS = (8, 9, 10)  # none, uncertain, no face
_COLUMNS = ("subDirectory_filePath", "face_x", "face_y", "face_width", "face_height", "facial_landmarks", "expression")
_LABEL_TABLES = {"training.csv": "train", "validation.csv": "test"}
_FOLDERS = {"train_set": "train", "val_set": "test"}


@dataclass
class AffectNet(LabelledPictures):
    """AffectNet in both layouts; labels 0 to 7 are the classes in order, and faces with 8 to 10 are left out.

    ``training.csv`` and ``validation.csv`` (with or without header) with ``Manually_Annotated_Images/``, of which the
    boxes are cut out; or ``train_set/`` and ``val_set/`` with ``images/`` and ``annotations/*_exp.npy``. The official
    validation set, on which papers report since no other is public, is ``test``; ``val`` is drawn from ``train``.
    """

    def listing(self, root: Path) -> Listing:
        """Detect the layout and list its faces."""
        if table := first_below(root, lambda path: path.name in _LABEL_TABLES):
            rows = [row for name in _LABEL_TABLES for row in _read_label_table(root, table.with_name(name))]
        elif folder := first_below(root, lambda path: path.name in _FOLDERS and (path / "annotations").is_dir()):
            rows = [row for name in _FOLDERS for row in _read_folder(root, folder.with_name(name))]
        else:
            expected = "training.csv and validation.csv, or train_set/ and val_set/ with images/ and annotations/"
            raise layout_error(self.path, "AffectNet", expected)
        faces = [row for row in rows if row.label not in _OTHER_LABELS]
        others = count_note(len(rows) - len(faces), "picture", "without an expression (labels 8 to 10)")
        return list_files(root, faces, AFFECTNET_CLASSES, others)


def _read_label_table(root: Path, table: Path) -> Iterator[Record]:
    if not table.is_file():
        return
    pictures = first_below(root, lambda path: path.name == "Manually_Annotated_Images" and path.is_dir())
    folder = "" if pictures is None else _folder_name(root, pictures)
    order = list(_COLUMNS)
    with table.open(encoding="utf-8-sig", newline="") as lines:
        for number, row in enumerate(csv.reader(lines), 1):
            if number == 1 and "expression" in row:
                order = row
            elif row:
                yield _boxed_record(
                    table, number, dict(zip(order, row, strict=False)), folder, _LABEL_TABLES[table.name]
                )


def _folder_name(root: Path, folder: Path) -> str:
    return "" if folder == root else f"{folder.relative_to(root).as_posix()}/"


def _boxed_record(table: Path, number: int, row: dict[str, str], folder: str, split: str) -> Record:
    try:
        left, top, width, height = (float(row[name]) for name in _COLUMNS[1:5])
        name, label = folder + row[_COLUMNS[0]].replace("\\", "/"), row["expression"]
    except (KeyError, ValueError) as error:
        raise format_error(table, f"expected the columns {', '.join(_COLUMNS)}", number) from error
    box = (left, top, left + width, top + height)
    return Record(name, _label_number(table, label, number), SPLITS.index(split), box=box)


def _read_folder(root: Path, folder: Path) -> Iterator[Record]:
    annotations = folder / "annotations"
    for name, _ in files_below(folder / "images") if (folder / "images").is_dir() else ():
        if not name.lower().endswith(IMAGE_SUFFIXES):
            continue
        file = annotations / f"{Path(name).stem}_exp.npy"
        if not file.is_file():
            raise format_error(file, f"there is no such file for the picture {name}")
        try:
            value = np.load(file, allow_pickle=False).item()
        except (ValueError, EOFError) as error:
            raise format_error(file, "expected a NumPy file with one number or text") from error
        picture = f"{_folder_name(root, folder)}images/{name}"
        yield Record(picture, _label_number(file, str(value)), SPLITS.index(_FOLDERS[folder.name]))


def _label_number(source: Path, text: str, line: int | None = None) -> int:
    known: Sequence[str] = [str(number) for number in range(len(AFFECTNET_CLASSES) + len(_OTHER_LABELS))]
    if text.strip() not in known:
        raise format_error(source, f"the expression {quote_value(text)} is none of 0 to 10", line)
    return int(text)
