"""Labelled pictures as the layout of a data set lists them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Record:
    """A face of a data set, before its picture is read.

    Attributes:
        name: relative path of the picture, or its name in a table.
        label: index into the classes; -1 where the data set has no label.
        split: index into ``SPLITS``; -1 where the layout does not say it.
        group: the person (or the film) that must not be in two splits; empty where it is unknown.
        box: left, top, right and bottom of the face in pixels; None for the whole picture.
        units: FACS action units that the face shows, such as ``AU12``.
    """

    name: str
    label: int
    split: int = -1
    group: str = ""
    box: tuple[float, float, float, float] | None = None
    units: tuple[str, ...] = ()


@dataclass(frozen=True)
class Listing:
    """The faces of a data set, in the order of its rows.

    Attributes:
        records: one per face.
        classes: names of the classes.
        pictures: yields the bytes of each record's picture file, or None where there is no such file.
        notes: sentences on what was left out, for the log.
        unit_names: action units that the data set codes; empty where it codes none.
    """

    records: Sequence[Record]
    classes: tuple[str, ...]
    pictures: Callable[[], Iterable[bytes | None]]
    notes: tuple[str, ...] = ()
    unit_names: tuple[str, ...] = ()


def list_files(
    root: Path,
    records: Iterable[Record],
    classes: tuple[str, ...],
    notes: Iterable[str] = (),
    unit_names: tuple[str, ...] = (),
) -> Listing:
    """Return the listing of picture files below ``root``, sorted by name."""
    ordered = sorted(records, key=lambda record: record.name)

    def pictures() -> Iterator[bytes | None]:
        for record in ordered:
            file = root / record.name
            yield file.read_bytes() if file.is_file() else None

    return Listing(ordered, classes, pictures, tuple(notes), unit_names)


def count_note(count: int, noun: str, rest: str) -> tuple[str, ...]:
    """Return the note that ``count`` pictures or sequences are left out, or none where there are none.

    Example:
        >>> count_note(2, "picture", "of no person")
        ('2 pictures of no person are left out',)
    """
    if not count:
        return ()
    return (f"1 {noun} {rest} is left out" if count == 1 else f"{count:,} {noun}s {rest} are left out",)
