"""The three layouts of CK+ as listings."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fervis.core.faces import FER2013_CLASSES
from fervis.datasets.collections.named import picture_names
from fervis.datasets.fer2013_formats.schema import class_of, format_error, quote_value, split_of_usage
from fervis.datasets.images.records import Listing, Record, count_note, list_files
from fervis.datasets.images.splits import CK_PLUS_NAME
from fervis.errors import ConfigError

CK_PLUS_CLASSES = ("neutral", "angry", "contempt", "disgust", "fear", "happy", "sad", "surprise")
"""In the order of CK+'s labels 0 to 7."""
_TABLE_CLASSES = (*FER2013_CLASSES, "contempt")
"""In the order of the labels of ckextended.csv."""


def list_sequences(root: Path, frames: int, neutral: bool) -> Listing | None:
    """List the last frames of each sequence that has an ``_emotion.txt``; None where there is no such file."""
    labels = _files_by_sequence(root, "_emotion.txt")
    if not labels:
        return None
    sequences: defaultdict[str, list[str]] = defaultdict(list)
    for name in picture_names(root):
        if match := CK_PLUS_NAME.match(name.rsplit("/", 1)[-1]):
            sequences[f"{match[1]}_{match[2]}"].append(name)
    coded = _files_by_sequence(root, "_facs.txt")
    units = {key: _coded_units(coded[key]) for key in labels} if set(labels) <= set(coded) else {}
    records = []
    for key, file in labels.items():
        names, label, person = sorted(sequences.get(key, ()), key=_file_name), _emotion(file), key.partition("_")[0]
        last = names[1:][-frames:] if neutral else names[-frames:]
        records += [Record(name, label, group=person, units=units.get(key, ())) for name in last]
        records += [Record(name, 0, group=person) for name in names[:1] if neutral]
    known = sorted({unit for shown in units.values() for unit in shown}, key=lambda unit: int(unit[2:]))
    others = count_note(len(sequences.keys() - labels.keys()), "sequence", "without a label")
    return list_files(root, records, CK_PLUS_CLASSES, others, tuple(known))


def list_class_folders(root: Path) -> Listing | None:
    """List pictures with CK+'s names in class folders; None where there are none."""
    names, records = picture_names(root), []
    for name in names:
        *folders, file = name.split("/")
        word = folders[-1] if folders else root.name
        label = "contempt" if word.lower() == "contempt" else class_of(word)
        if (match := CK_PLUS_NAME.match(file)) and label:
            records.append(Record(name, CK_PLUS_CLASSES.index(label), group=match[1]))
    others = count_note(len(names) - len(records), "picture", "with another name")
    return list_files(root, records, CK_PLUS_CLASSES, others) if records else None


def list_table_rows(table: Path) -> Listing:
    """List the rows of ckextended.csv, with the splits of its Usage."""
    rows = list(_read_pixel_rows(table))

    def pictures() -> Iterator[bytes]:
        for number, (_, text, _) in enumerate(rows, 2):
            pixels = np.array(text.split(), np.int64)
            side = round(len(pixels) ** 0.5)
            if side * side != len(pixels) or not len(pixels) or pixels.min() < 0 or pixels.max() > 255:
                raise format_error(table, "expected the pixels of a square picture, from 0 to 255", number)
            yield b"P5 %d %d 255\n" % (side, side) + pixels.astype(np.uint8).tobytes()

    records = []
    for number, (emotion, _, usage) in enumerate(rows, 2):
        if emotion.strip() not in [str(label) for label in range(len(_TABLE_CLASSES))]:
            raise format_error(table, f"the emotion {quote_value(emotion)} is none of 0 to 7", number)
        label = CK_PLUS_CLASSES.index(_TABLE_CLASSES[int(emotion)])
        records.append(Record(f"row {number - 2}", label, split_of_usage(table, usage, number)))
    return Listing(records, CK_PLUS_CLASSES, pictures)


def _read_pixel_rows(table: Path) -> Iterator[tuple[str, str, str]]:
    with table.open(encoding="utf-8-sig", newline="") as lines:
        for row in csv.DictReader(lines):
            cells = {str(key).strip().lower(): value for key, value in row.items()}
            if not {"emotion", "pixels", "usage"} <= cells.keys():
                raise format_error(table, "expected the columns emotion, pixels and Usage", 1)
            yield cells["emotion"], cells["pixels"], cells["usage"]


def _files_by_sequence(root: Path, ending: str) -> dict[str, Path]:
    """Return ``S005_001`` -> the file of that sequence with an ending, in sorted order."""
    files = sorted(root.rglob(f"S*{ending}")) if root.is_dir() else []
    return {"_".join(file.name.split("_")[:2]): file for file in files}


def _file_name(name: str) -> str:
    return name.rsplit("/", 1)[-1]


def _emotion(file: Path) -> int:
    try:
        return range(len(CK_PLUS_CLASSES))[int(float(file.read_text(encoding="utf-8")))]
    except (ValueError, IndexError) as error:
        raise format_error(file, "expected a label from 0 to 7") from error


def _coded_units(file: Path) -> tuple[str, ...]:
    try:
        numbers = {
            int(float(line.split()[0])) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()
        }
    except ValueError as error:
        raise ConfigError(f"{file}: expected lines of an action unit and its intensity.") from error
    return tuple(f"AU{number}" for number in sorted(numbers))
