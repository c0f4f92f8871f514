"""Pictures of any table: a CSV with a column of paths, or Parquet with paths or the pictures themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fervis.datasets.images.class_folders import class_order
from fervis.datasets.images.labelled import LabelledPictures
from fervis.datasets.images.records import Listing
from fervis.datasets.paths import existing_path
from fervis.datasets.tables.columns import Columns, choose_columns, list_table, open_tables, table_files
from fervis.datasets.tables.parquet import ParquetTable
from fervis.errors import ConfigError


@dataclass
class TablePictures(LabelledPictures):
    """A Parquet or CSV file, or a folder of them, with a row per picture.

    Columns of the usual names are taken where none is named: image, path, ...; label, emotion, ...; split, usage, ...;
    subject, person, .... Without a column the split is that of the file's name (``train-00000-of-00001.parquet``) or
    folder. With persons ``val`` and ``test`` are drawn by person. A row's number is its position, table after table.

    Labels are names of classes (in the order that ``dataset=image_folder`` gives them) or whole numbers, which are
    positions in ``classes``, from 0; or from 1 where the highest is the number of classes. Names come from the Parquet
    file where it states them; numbers without names are their own names.

    Attributes:
        image: column of the pictures.
        label: column of the labels.
        split: column of the splits.
        subject: column of the persons.
        classes: names of the classes in the order of the labels; null for those of the table.
        root: folder where the paths of a table start; null for that of the table.
    """

    image: str | None = None
    label: str | None = None
    split: str | None = None
    subject: str | None = None
    classes: list[str] | None = None
    root: str | None = None

    def files(self) -> list[Path]:
        """Return the table or the folder of tables, and the folder where its paths start."""
        source = existing_path(self.path, "dataset.path")
        if self.root is not None:
            return [source, existing_path(self.root, "dataset.root")]
        return [source, source.parent] if source.suffix.lower() == ".csv" else [source]

    def listing(self, root: Path) -> Listing:
        """List the rows of all tables."""
        files = table_files(root, (".parquet", ".csv"))
        if not files:
            raise ConfigError(f"dataset.path={self.path}: expected a Parquet or CSV file, or a folder of them.")
        tables = open_tables(files)
        wanted = Columns(self.image or "", self.label or "", self.split or "", self.subject or "")
        chosen = choose_columns(tables, wanted)
        if self.root is None and isinstance(tables[0], ParquetTable) and tables[0].holds_paths(chosen.image):
            raise ConfigError(f"dataset.path={self.path}: it has paths; say where they start: dataset.root=<folder>.")
        values = [value for table in tables for value in table.values(chosen.label)]
        names = self.classes or list(tables[0].label_names(chosen.label))
        classes, label_of = label_order(values, names)
        folder = files[0].parent if self.root is None else existing_path(self.root, "dataset.root")
        return list_table(tables, chosen, folder, classes, label_of)


def label_order(values: Sequence[Any], names: Sequence[str]) -> tuple[tuple[str, ...], Callable[[Any], int]]:
    """Return the classes in order, and a function from a value of the label's column to its index.

    Args:
        values: all labels, whole numbers or names.
        names: of the classes in label order; empty where they are unknown.

    Raises:
        ConfigError: a label is none of the classes.

    Example:
        >>> classes, label_of = label_order(["2", "1", "2"], ["surprise", "fear"])
        >>> label_of("2"), classes
        (1, ('surprise', 'fear'))
    """
    words = {value: _plain_label(value) for value in values}
    if not all(word.isdigit() for word in words.values()):
        classes, canonical = (tuple(names), dict.fromkeys(names, "")) if names else class_order(set(words.values()))
        known = {word: classes.index(canonical[word] or word) for word in canonical}
    elif names:
        classes = tuple(names)
        first = 1 if max(map(int, words.values())) == len(classes) and "0" not in words.values() else 0
        known = {str(number + first): number for number in range(len(classes))}
    else:
        classes = tuple(sorted(set(words.values()), key=int))
        known = {word: number for number, word in enumerate(classes)}
    for word in words.values():
        if word not in known:
            raise ConfigError(f"dataset.classes={list(classes)}: the label {word} of the table is none of them.")
    return classes, lambda value: known[words[value]]


def _plain_label(value: Any) -> str:
    """Return a label as text; whole numbers without leading zeros or a decimal point."""
    text = str(value).strip()
    try:
        return str(int(float(text))) if float(text).is_integer() else text
    except ValueError:
        return text
