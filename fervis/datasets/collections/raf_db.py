"""RAF-DB: 15,339 faces in seven basic expressions (Li, Deng and Du 2017, doi:10.1109/CVPR.2017.277)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from fervis.core.faces import SPLITS
from fervis.datasets.fer2013_formats.schema import class_of, format_error, quote_value
from fervis.datasets.images.class_folders import split_named
from fervis.datasets.images.decode import IMAGE_SUFFIXES
from fervis.datasets.images.labelled import LabelledPictures
from fervis.datasets.images.records import Listing, Record, list_files
from fervis.datasets.paths import first_below, layout_error
from fervis.datasets.tables.columns import choose_columns, list_table, open_tables, table_files
from fervis.errors import ConfigError
from fervis.system.hashing import files_below

RAF_DB_CLASSES = ("surprise", "fear", "disgust", "happy", "sad", "angry", "neutral")
"""In the order of RAF-DB's labels 1 to 7."""
_OFFICIAL_NAME = re.compile(r"(train|test)_\d+\.\w+")


@dataclass
class RafDb(LabelledPictures):
    """The basic part of RAF-DB in any of three layouts; labels 1 to 7 are the classes in order.

    ``EmoLabel/list_patition_label.txt`` with ``Image/aligned/``, or else ``Image/original/``, of which the boxes in
    ``Annotation/boundingbox/`` are cut out; ``train/1`` to ``test/7`` with pictures; or Parquet files with pictures and
    labels, 1 to 7 or 0 to 6. ``train`` and ``test`` are the official ones, and ``val`` is drawn from ``train``.
    """

    def listing(self, root: Path) -> Listing:
        """Detect the layout and list its faces."""
        if labels := first_below(root, lambda path: path.name == "list_patition_label.txt"):
            return _list_official(labels)
        if folder := first_below(root, _has_numbered_folders):
            return _list_numbered(folder)
        if tables := table_files(root, (".parquet",)):
            return _list_parquet(tables)
        expected = "EmoLabel/list_patition_label.txt, folders train/1 to test/7, or Parquet files"
        raise layout_error(self.path, "RAF-DB", expected)


def _list_official(labels: Path) -> Listing:
    base, records = labels.parent.parent, []
    aligned = (base / "Image" / "aligned").is_dir()
    for number, line in enumerate(labels.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        name, _, label = line.strip().partition(" ")
        part = _OFFICIAL_NAME.fullmatch(name)
        if not part:
            raise format_error(labels, f"{quote_value(name)} is no name such as train_00001.jpg", number)
        stem, ending = name.rsplit(".", 1)
        picture = f"Image/aligned/{stem}_aligned.{ending}" if aligned else f"Image/original/{name}"
        box = None if aligned else _box(base / "Annotation" / "boundingbox" / f"{stem}_boundingbox.txt")
        records.append(Record(picture, _label(labels, label, number), SPLITS.index(part[1]), box=box))
    return list_files(base, records, RAF_DB_CLASSES)


def _box(file: Path) -> tuple[float, float, float, float] | None:
    if not file.is_file():
        return None
    try:
        left, top, right, bottom = map(float, file.read_text(encoding="utf-8").split()[:4])
    except ValueError as error:
        raise format_error(file, "expected left, top, right and bottom of a box", 1) from error
    return left, top, right, bottom


def _has_numbered_folders(folder: Path) -> bool:
    return any((folder / part / number).is_dir() for part in ("train", "test") for number in "1234567")


def _list_numbered(folder: Path) -> Listing:
    records = []
    for name, _ in files_below(folder):
        parts = name.split("/")
        if name.lower().endswith(IMAGE_SUFFIXES) and len(parts) >= 3 and (split := split_named(parts[0])) is not None:
            records.append(Record(name, _label(folder / parts[0], parts[1]), split))
    return list_files(folder, records, RAF_DB_CLASSES)


def _list_parquet(files: list[Path]) -> Listing:
    tables = open_tables(files)
    chosen = choose_columns(tables)
    values = [value for table in tables for value in table.values(chosen.label)]
    names = tables[0].label_names(chosen.label)
    if names:
        known = [_class_index(name) for name in names]
    elif all(isinstance(value, int) and 0 <= value <= 7 for value in values) and (0 in values) != (7 in values):
        known = list(range(7)) if 0 in values else [-1, *range(7)]
    else:
        raise ConfigError(f"{files[0]}: expected labels from 1 to 7, or from 0 to 6, with both ends among them.")
    return list_table(tables, chosen, files[0].parent, RAF_DB_CLASSES, lambda value: known[value])


def _class_index(name: str) -> int:
    word = class_of(name)
    if word is None and not (name.isdigit() and 1 <= int(name) <= 7):
        raise ConfigError(f"the class {quote_value(name)} of the Parquet file is none of {', '.join(RAF_DB_CLASSES)}.")
    return int(name) - 1 if word is None else RAF_DB_CLASSES.index(word)


def _label(source: Path, text: str, line: int | None = None) -> int:
    if text.strip() not in tuple("1234567"):
        raise format_error(source, f"the label {quote_value(text)} is none of 1 to 7", line)
    return int(text) - 1
