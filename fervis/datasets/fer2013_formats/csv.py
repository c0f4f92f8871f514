"""FER2013 as text tables: fer2013.csv, icml_face_data.csv, torchvision's and NTU's train.csv and test.csv."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fervis.core.faces import FER2013_CLASSES
from fervis.datasets.fer2013_formats.schema import (
    FACE_PIXELS,
    FACE_SIDE,
    UNLABELLED,
    format_error,
    quote_value,
    split_of_usage,
)
from fervis.errors import nearest_name
from fervis.system.progress import progress

_TABLE_COLUMNS = {
    "emotion": "emotion",
    "label": "emotion",
    "pixels": "pixels",
    "feature": "pixels",
    "usage": "usage",
    "id": "id",
}
_LABELS = {str(label).encode(): label for label in range(len(FER2013_CLASSES))}


@dataclass(frozen=True)
class Table:
    """One text table of faces, in the order of its lines.

    Attributes:
        images: [N,48,48] uint8.
        labels: [N] int64, or None where the table has no such column.
        splits: [N] uint8, index into ``SPLITS``, or None where the table has no Usage.
    """

    images: np.ndarray
    labels: np.ndarray | None
    splits: np.ndarray | None


def columns(header: bytes) -> tuple[str, ...] | None:
    """Return the columns that a first line names, ``label`` as ``emotion``; None where it is no table of faces."""
    names = tuple(_TABLE_COLUMNS.get(word.lower(), "") for word in _split_columns(header))
    return names if "pixels" in names and "" not in names and len(set(names)) == len(names) else None


def read_table(path: Path) -> Table:
    """Read a table of any column order: emotion or label, pixels or feature, Usage, id.

    Images are parsed line by line: the 2,304 numbers of one take some 10 KB, so that every step of the arithmetic
    stays in the processor's cache, and an error has its line.

    Raises:
        ConfigError: at the first invalid value.
    """
    images: list[np.ndarray] = []
    labels: list[int] = []
    splits: list[int] = []
    usages: dict[bytes, int] = {}
    with (
        path.open("rb") as file,
        progress(None, path.name, "B", total=path.stat().st_size, scaled=True) as bar,
    ):
        header = file.readline(1 << 16)
        names = check_columns(path, header)
        column_of = {name: column for column, name in enumerate(names)}
        bar.update(len(header))
        for number, line in enumerate(file, start=2):
            bar.update(len(line))
            cells = line.strip().split(b",")
            if cells == [b""]:
                continue
            cut = "" if line.endswith(b"\n") else "; the file ends in this line, so it may have been cut off"
            if len(cells) != len(names):
                given = f"{len(cells)} column{'' if len(cells) == 1 else 's'}"
                raise format_error(path, f"{given} where the first line names {len(names)}{cut}", number)
            pixels = _parse_pixels(cells[column_of["pixels"]])
            if pixels is None:
                pixels = _checked_pixels(path, cells[column_of["pixels"]], number, cut)
            images.append(pixels)
            if "emotion" in column_of:
                cell = cells[column_of["emotion"]]
                label = _LABELS.get(cell)
                labels.append(_checked_label(path, cell, number) if label is None else label)
            if "usage" in column_of:
                cell = cells[column_of["usage"]]
                if cell not in usages:
                    usages[cell] = split_of_usage(path, cell.decode("utf-8", "replace"), number)
                splits.append(usages[cell])
    if not images:
        raise format_error(path, "the table names its columns and holds no face", 1)
    return Table(
        np.concatenate(images).reshape(-1, FACE_SIDE, FACE_SIDE),
        np.array(labels, np.int64) if "emotion" in column_of else None,
        np.array(splits, np.uint8) if "usage" in column_of else None,
    )


def check_columns(path: Path, header: bytes) -> tuple[str, ...]:
    """Return what ``columns`` does, and refuse what is no table of faces with the reason."""
    if not header.strip():
        raise format_error(
            path, "the first line is empty where it should name the columns, such as emotion,pixels,Usage", 1
        )
    names = columns(header)
    if names is not None:
        return names
    words = list(_split_columns(header))
    known = ("emotion", "pixels", "Usage", "label", "feature", "id")
    for word in words:
        if word.lower() not in _TABLE_COLUMNS:
            meant = nearest_name(word, known).rstrip("?").replace(" Did you mean ", "; perhaps ")
            raise format_error(path, f"the column {quote_value(word)} is none of {', '.join(known)}{meant}", 1)
    if not any(_TABLE_COLUMNS[word.lower()] == "pixels" for word in words):
        raise format_error(path, f"no column is named pixels or feature, only {', '.join(map(quote_value, words))}", 1)
    raise format_error(path, f"a column is named twice in {', '.join(map(quote_value, words))}", 1)


def unlabelled(count: int) -> np.ndarray:
    """Return the labels of faces that have none: [count] int64, all -1."""
    return np.full(count, UNLABELLED, np.int64)


def _split_columns(header: bytes) -> Iterator[str]:
    text = header.decode("utf-8-sig", "replace").strip()
    return (word.strip().strip('"').strip() for word in text.split(","))


def _parse_pixels(cell: bytes) -> np.ndarray | None:
    """Parse 2,304 numbers from 0 to 255 with one space between as [2304] uint8; None where anything is different."""
    text = np.frombuffer(cell, np.uint8)
    digits = text - np.uint8(48)  # wraps round: everything that is no digit is above 9
    stops = np.flatnonzero(digits > 9)
    if len(stops) != FACE_PIXELS - 1 or (text[stops] != 32).any():
        return None
    ends = np.empty(FACE_PIXELS, np.int64)
    ends[:-1] = stops
    ends[-1] = len(text)
    lengths = np.diff(ends, prepend=-1) - 1
    if lengths.min() < 1 or lengths.max() > 3:
        return None
    values = digits[ends - 1].astype(np.int16)
    values += digits[ends - 2] * (lengths > 1).astype(np.int16) * 10
    values += digits[ends - 3] * (lengths > 2).astype(np.int16) * 100
    return values.astype(np.uint8) if values.max() <= 255 else None


def _checked_pixels(path: Path, cell: bytes, line: int, cut: str) -> np.ndarray:
    """Parse a line that is not in the plain form: quoted or spaced otherwise; raise the error that it holds."""
    words = cell.strip().strip(b'"').split()
    for position, word in enumerate(words, start=1):
        # Compared without its zeros: Python refuses to convert 4,300 digits, and NumPy 1.26 takes 300 as 44.
        digits = word.lstrip(b"0")
        if not word.isdigit() or len(digits) > 3 or int(digits or b"0") > 255:
            value = quote_value(word.decode("utf-8", "replace"))
            raise format_error(path, f"pixel {position} is {value}, not a whole number from 0 to 255{cut}", line)
    if len(words) != FACE_PIXELS:
        raise format_error(path, f"{len(words):,} pixels where a face of 48 x 48 has {FACE_PIXELS:,}{cut}", line)
    return np.array([int(word) for word in words], np.uint8)


def _checked_label(path: Path, cell: bytes, line: int) -> int:
    label = _LABELS.get(cell.strip().strip(b'"').strip())
    if label is None:
        value = quote_value(cell.decode("utf-8", "replace"))
        raise format_error(path, f"the label {value} is not a whole number from 0 to {len(FER2013_CLASSES) - 1}", line)
    return label
