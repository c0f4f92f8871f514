"""Read one source of FER2013 as arrays, and infer the splits where the layout does not state them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np

from fervis.datasets.fer2013_formats.csv import Table, read_table, unlabelled
from fervis.datasets.fer2013_formats.detect import Source
from fervis.datasets.fer2013_formats.folders import read_folders
from fervis.datasets.fer2013_formats.npz import read_archive
from fervis.datasets.fer2013_formats.schema import (
    OFFICIAL_COUNTS,
    OFFICIAL_SIZES,
    Parsed,
    class_counts,
    format_error,
    split_index,
)

# Runs of whole splits that a table without Usage may hold, in the original's order.
_RUNS = (("train", "val", "test"), ("val", "test"), ("train",), ("val",), ("test",))


def read_fer2013(source: Source) -> Parsed:
    """Read the faces of a source.

    Raises:
        ConfigError: at the first invalid value.
    """
    if source.layout == "archive":
        return read_archive(source.paths[0])
    if source.layout == "folders":
        return read_folders(source.paths[0])
    tables = [(path, read_table(path)) for path in source.paths]
    return _join(tables)


def _join(tables: list[tuple[Path, Table]]) -> Parsed:
    """Concatenate tables in the order of their splits; a face's row is its position."""
    parts: dict[tuple[int, ...], tuple[Path, Table, np.ndarray]] = {}
    for path, table in tables:
        splits = _splits(table) if table.splits is None else table.splits
        contained = tuple(np.unique(splits).tolist())
        for others, (other, *_) in parts.items():
            if set(others) & set(contained):
                raise format_error(path, f"it holds faces of the same split as {other}; name one of the two files")
        parts[contained] = (path, table, splits)
    ordered = [parts[key] for key in sorted(parts)]
    images = np.concatenate([table.images for _, table, _ in ordered])
    labels = np.concatenate(
        [unlabelled(len(table.images)) if table.labels is None else table.labels for _, table, _ in ordered]
    )
    return Parsed(images, labels, np.arange(len(images)), np.concatenate([splits for *_, splits in ordered]))


def _splits(table: Table) -> np.ndarray:
    """Infer the splits of a table that does not state them.

    Labelled faces are the original's splits where their number and the count of each class are the original's, and else
    all ``train``. Unlabelled ones are ``val`` and then ``test`` where they are the original's 7,178, and else all
    ``test``.
    """
    count = len(table.images)
    for run in _RUNS:
        starts = np.cumsum([0, *(OFFICIAL_SIZES[split] for split in run)])
        spans = [slice(*pair) for pair in pairwise(starts.tolist())]
        if starts[-1] != count:
            continue
        if table.labels is None:
            known = run == ("val", "test")
        else:
            labels = table.labels
            counts = [class_counts(labels[span]) for span in spans]
            known = counts == [OFFICIAL_COUNTS[split] for split in run]
        if known:
            return np.repeat(np.array([split_index(s) for s in run], np.uint8), [OFFICIAL_SIZES[s] for s in run])
    return np.full(count, split_index("test" if table.labels is None else "train"), np.uint8)
