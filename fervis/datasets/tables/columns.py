"""Which columns of a table hold pictures, labels, splits and persons, and the listing they make."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from fervis.datasets.images.class_folders import split_named
from fervis.datasets.images.records import Listing, Record
from fervis.datasets.tables.csv_table import CsvTable
from fervis.datasets.tables.parquet import ParquetTable
from fervis.errors import ConfigError, unknown_name
from fervis.system.hashing import files_below

_USUAL_NAMES = {
    "image": (
        *("image", "img", "picture", "image_path", "img_path", "path", "filepath", "file_path"),
        *("file_name", "filename", "file", "image_name", "name", "pth"),
    ),
    "label": ("label", "labels", "emotion", "expression", "class", "target", "category"),
    "split": ("split", "usage", "partition", "set", "subset"),
    "subject": ("subject", "person", "subject_id", "person_id", "user_id", "identity"),
}
"""What columns are called, the first that is there wins."""


class PictureTable(Protocol):
    """A table file.

    Attributes:
        file: where it lies.
        columns: names of its columns.
    """

    file: Path
    columns: tuple[str, ...]

    def values(self, column: str) -> list[Any]:
        """Return the values of a column: text or numbers."""
        ...

    def names(self, column: str) -> list[str]:
        """Return what identifies each picture: its path, or for pictures in the table the number of the row."""
        ...

    def pictures(self, column: str, folder: Path) -> Iterator[bytes | None]:
        """Yield the bytes of each row's picture; paths start at ``folder``; None where there is no such file."""
        ...

    def label_names(self, column: str) -> tuple[str, ...]:
        """Return the names of the labels from 0 where the table states them."""
        ...


@dataclass(frozen=True)
class Columns:
    """Names of the columns; empty for one that is not there.

    Attributes:
        image: paths of pictures, or the pictures.
        label: numbers or names of classes.
        split: words such as train.
        subject: persons.
    """

    image: str = ""
    label: str = ""
    split: str = ""
    subject: str = ""


def table_files(root: Path, endings: Sequence[str]) -> list[Path]:
    """Return the file itself, or the files of a folder with the first ending that any of them has, sorted."""
    if root.is_file():
        return [root] if root.name.lower().endswith(tuple(endings)) else []
    names = [name for name, _ in files_below(root)]
    listed = [[root / name for name in names if name.lower().endswith(ending)] for ending in endings]
    return next((files for files in listed if files), [])


def open_tables(files: Sequence[Path]) -> list[PictureTable]:
    """Open CSV and Parquet files."""
    return [ParquetTable(file) if file.suffix.lower() == ".parquet" else CsvTable(file) for file in files]


def choose_columns(tables: Sequence[PictureTable], wanted: Columns | None = None) -> Columns:
    """Return the columns to read: those that are named, else those with one of the usual names.

    Raises:
        ConfigError: a named column is not there, or none can be taken for pictures or labels.
    """
    known, chosen = tables[0].columns, {}
    lower = {name.strip().lower(): name for name in reversed(known)}
    for role, usual in _USUAL_NAMES.items():
        name = getattr(wanted or Columns(), role)
        if name and name not in known:
            raise unknown_name(f"dataset.{role}", name, known)
        chosen[role] = name or next((lower[word] for word in usual if word in lower), "")
        if role in ("image", "label") and not chosen[role]:
            raise ConfigError(f"{tables[0].file}: no column is called {usual[0]}; name it: dataset.{role}=<column>.")
    for table in tables[1:]:
        if missing := {name for name in chosen.values() if name} - set(table.columns):
            raise ConfigError(f"{table.file}: the column {min(missing)} of {tables[0].file.name} is missing here.")
    return Columns(**chosen)


def list_table(
    tables: Sequence[PictureTable],
    chosen: Columns,
    folder: Path,
    classes: tuple[str, ...],
    label_of: Callable[[Any], int],
) -> Listing:
    """Return the listing of all rows, table after table.

    A split is that of the split's column, else of the file's name (``train-00000-of-00001.parquet``) or folder.

    Args:
        tables: the files.
        chosen: the columns.
        folder: where paths start.
        classes: names of the classes.
        label_of: index into ``classes`` of a value of the label's column.
    """
    records: list[Record] = []
    for table in tables:
        names, labels = table.names(chosen.image), table.values(chosen.label)
        persons = table.values(chosen.subject) if chosen.subject else [""] * len(names)
        splits = _row_splits(table, chosen.split, len(names))
        prefix = f"{table.file.stem} " if len(tables) > 1 and any(name.isdigit() for name in names[:1]) else ""
        for name, label, split, person in zip(names, labels, splits, persons, strict=True):
            records.append(Record(f"{prefix}{name}", label_of(label), split, str(person)))

    def pictures() -> Iterator[bytes | None]:
        for table in tables:
            yield from table.pictures(chosen.image, folder)

    return Listing(records, classes, pictures)


def _row_splits(table: PictureTable, column: str, count: int) -> list[int]:
    if column:
        return [_split(table, str(word)) for word in table.values(column)]
    words = (table.file.name.split("-")[0].split(".")[0].split("_")[0], table.file.parent.name)
    known = [split for word in words if (split := split_named(word)) is not None]
    return [known[0] if known else -1] * count


def _split(table: PictureTable, word: str) -> int:
    split = split_named(word.strip())
    if split is None:
        raise ConfigError(f"{table.file}: the split {word} is none of train, val and test.")
    return split
