"""The votes of FER+ (fer2013new.csv): ten raters per face, joined by the row of fer2013.csv."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from fervis.datasets.fer2013_formats.schema import USAGES, format_error, quote_value, split_of_usage
from fervis.datasets.images.decode import lfs_pointer
from fervis.errors import nearest_name

VOTE_NAMES = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF")
_KNOWN_COLUMNS = {name.lower(): name for name in ("Usage", "Image name", *VOTE_NAMES)}


def join_votes(path: Path, rows: np.ndarray, splits: np.ndarray) -> np.ndarray:
    """Return the votes of the faces with these rows: [N,10] uint8 in the order of ``VOTE_NAMES``.

    Args:
        path: the file of FER+; its n-th face (from 0) is row n of fer2013.csv.
        rows: [N] int64.
        splits: [N] uint8, index into ``SPLITS``, compared with the file's Usage so that shifted rows are noticed.

    Raises:
        ConfigError: where the file is damaged or is not of these faces.
    """
    try:
        votes, usages = read_votes(path)
    except csv.Error as error:
        raise format_error(path, f"the file is damaged ({error})") from error
    if rows.max(initial=0) >= len(votes):
        raise format_error(
            path, f"it has votes for rows 0 to {len(votes) - 1} and none for the face with row {rows.max()}"
        )
    wrong = np.flatnonzero(usages[rows] != splits)
    if len(wrong):
        row = int(rows[wrong[0]])
        theirs, ours = USAGES[usages[row]], USAGES[splits[wrong[0]]]
        raise format_error(path, f"row {row} is of {theirs} where the face with this row is of {ours}", row + 2)
    return votes[rows]


def read_votes(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read votes [N,10] uint8 in the order of ``VOTE_NAMES``, and splits [N] uint8, from a file of FER+."""
    with path.open("rb") as file:
        head = file.read(64)
    if lfs_pointer(head):
        raise format_error(path, "this is a Git LFS pointer, not the votes; run `git lfs pull` in its folder")
    votes: list[list[int]] = []
    splits: list[int] = []
    usages: dict[str, int] = {}
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        lines = csv.reader(file)
        names = [word.strip() for word in next(lines, [])]
        usage_column, vote_columns = _vote_columns(path, names)
        for cells in lines:
            if not cells:
                continue
            if len(cells) != len(names):
                reason = f"{len(cells)} columns where the first line names {len(names)}; the file may have been cut off"
                raise format_error(path, reason, lines.line_num)
            row = [cells[column] for column in vote_columns]
            for name, cell in zip(VOTE_NAMES, row, strict=True):
                if not (cell.isascii() and cell.isdigit() and len(cell) < 4 and int(cell) < 256):
                    raise format_error(
                        path, f"the votes for {name} are {quote_value(cell)}, not a whole number", lines.line_num
                    )
            votes.append([int(cell) for cell in row])
            usage = cells[usage_column]
            if usage not in usages:
                usages[usage] = split_of_usage(path, usage, lines.line_num)
            splits.append(usages[usage])
    if not votes:
        raise format_error(path, "the file holds no votes")
    return np.array(votes, np.uint8), np.array(splits, np.uint8)


def _vote_columns(path: Path, names: list[str]) -> tuple[int, list[int]]:
    """Return the column of the usage and those of the votes, in the order of ``VOTE_NAMES``."""
    lower = [name.lower() for name in names]
    for name in ("Usage", *VOTE_NAMES):
        if name.lower() not in lower:
            meant = nearest_name(name, [n for n in names if n.lower() not in _KNOWN_COLUMNS])
            meant = meant.rstrip("?").replace(" Did you mean ", "; perhaps it is ")
            raise format_error(path, f"the first line names no column {name}, as FER+'s fer2013new.csv does{meant}", 1)
    return lower.index("usage"), [lower.index(name.lower()) for name in VOTE_NAMES]
