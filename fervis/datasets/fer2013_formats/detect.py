"""Detect which layout of FER2013 is at a path, by the content of the files and never by their names."""

from __future__ import annotations

import filecmp
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fervis.datasets.fer2013_formats.csv import check_columns, columns
from fervis.datasets.fer2013_formats.folders import usage_name
from fervis.datasets.fer2013_formats.schema import class_of, format_error
from fervis.datasets.images.decode import IMAGE_SUFFIXES, lfs_pointer
from fervis.datasets.paths import existing_path
from fervis.errors import ConfigError

_DEPTH = 3
_HEAD_BYTES = 1 << 12
_FOREIGN_FORMATS = {b"\x1f\x8b": "a gzip archive; unpack it", b"PAR1": "a Parquet file; save it as CSV"}
_CSV, _ICML = ("emotion", "pixels", "usage"), ("emotion", "usage", "pixels")


@dataclass(frozen=True)
class Source:
    """The files that hold the faces, and their layout.

    Attributes:
        layout: ``tables``, ``archive`` or ``folders``.
        paths: the tables, the archive, or the folder above the class folders.
    """

    layout: str
    paths: tuple[Path, ...]


def detect_layout(path: str, key: str) -> Source:
    """Return the source at a file, or the best one in a folder and the three levels of folders below it.

    In a folder the order is torchvision's, extended: a table with Usage (first the columns of fer2013.csv, then those
    of icml_face_data.csv, then any other order), a NumPy archive, class folders, tables without Usage (train.csv,
    test.csv). Two different sources of the same rank are ambiguous and refused.

    Args:
        path: file or folder.
        key: the knob that names it, for error messages.

    Raises:
        ConfigError: where there is nothing, or nothing of FER2013.
    """
    source = existing_path(path, key)
    if source.is_file():
        kind = _file_layout(source)
        _refuse(source, kind)
        return Source("archive" if kind == "archive" else "tables", (source,))
    ranks: dict[int, list[Path]] = {}
    refused: list[tuple[str, Path]] = []
    for file in _candidates(source):
        kind = _file_layout(file)
        rank = _rank(file) if kind == "table" else 3 if kind == "archive" and _holds_arrays(file) else None
        if rank is not None:
            ranks.setdefault(rank, []).append(file)
        elif kind in ("pointer", "empty", "almost"):
            refused.append((kind, file))
    for rank in range(4):
        if rank in ranks:
            return Source("archive" if rank == 3 else "tables", (_only(ranks[rank], source, key),))
    if _has_class_folders(source):
        return Source("folders", (source,))
    if 4 in ranks:
        return Source("tables", tuple(ranks[4]))
    for kind, file in sorted(refused, key=lambda found: ("almost", "pointer", "empty").index(found[0])):
        _refuse(file, kind)
    raise ConfigError(
        f"{key}={path}: nothing in this folder, or {_DEPTH} folders deep, is FER2013 as a CSV, an .npz or class "
        f"folders of pictures named like Training_123.png."
    )


def _file_layout(path: Path) -> str:
    """Return ``table``, ``archive``, ``pointer``, ``empty``, ``almost`` a table (with wrong columns) or ``other``."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if not head.strip():
        return "empty"
    if lfs_pointer(head):
        return "pointer"
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "archive"
    if columns(_first_line(head)):
        return "table"
    words = _first_line(head).lower()
    return "almost" if b"emotion" in words or b"pixel" in words else "other"


def _holds_arrays(archive: Path) -> bool:
    """Whether a zip archive is NumPy's, by the name of its first member, which a cut one still has."""
    with archive.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    return head[30 : 30 + int.from_bytes(head[26:28], "little")].endswith(b".npy")


def _first_line(head: bytes) -> bytes:
    return head.partition(b"\n")[0]


def _rank(path: Path) -> int:
    with path.open("rb") as file:
        names = columns(file.readline(_HEAD_BYTES)) or ()
    return 0 if names == _CSV else 1 if names == _ICML else 2 if {"usage", "emotion"} <= set(names) else 4


def _candidates(folder: Path, depth: int = _DEPTH) -> Iterator[Path]:
    """Yield files that are no pictures, the nearest first, in the order of their names."""
    with os.scandir(folder) as found:
        entries = sorted((entry for entry in found if not entry.name.startswith(".")), key=lambda entry: entry.name)
    for entry in entries:
        if entry.is_file() and not entry.name.lower().endswith(IMAGE_SUFFIXES):
            yield Path(entry.path)
    for entry in entries if depth else ():
        if entry.is_dir():
            yield from _candidates(Path(entry.path), depth - 1)


def _has_class_folders(folder: Path, depth: int = _DEPTH) -> bool:
    with os.scandir(folder) as found:
        entries = [entry for entry in found if not entry.name.startswith(".")]
    if class_of(folder.name) and any(usage_name(entry.name) for entry in entries):
        return True
    return depth > 0 and any(_has_class_folders(Path(entry.path), depth - 1) for entry in entries if entry.is_dir())


def _only(files: list[Path], folder: Path, key: str) -> Path:
    for other in files[1:]:
        if not filecmp.cmp(files[0], other, shallow=False):
            raise ConfigError(f"{key}={folder}: {files[0]} and {other} are different copies; name one of them.")
    return files[0]


def _refuse(path: Path, kind: str) -> None:
    """Raise the error of a file that is no table and no archive."""
    if kind == "pointer":
        raise format_error(path, "this is a Git LFS pointer, not the data; run `git lfs pull` in its folder", 1)
    if kind == "empty":
        raise format_error(path, "the file is empty", 1)
    if kind not in ("almost", "other"):
        return
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    for magic, what in _FOREIGN_FORMATS.items():
        if head.startswith(magic):
            raise format_error(path, f"this is {what} first")
    if b"\0" in head:
        raise format_error(path, "this is neither a CSV nor an .npz of FER2013")
    check_columns(path, _first_line(head))
