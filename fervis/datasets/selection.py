"""Select the faces of a split that ``faces=`` asks for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch

from fervis.core.faces import SPLITS, Faces
from fervis.errors import ConfigError, unknown_name

UNLABELLED_COUNT = 16


def select_faces(faces: Faces, split: str, spec: Any) -> Faces:
    """The faces of a split that ``faces=`` asks for: ``all``, ``per_class:<n>``, row numbers in order, or ``auto``.

    ``per_class`` takes the first n faces of each class, in class order; ``auto`` one of each class, or the first faces
    where none has a label.

    Raises:
        ConfigError: an unknown split, a row that is not in it, or a form that is none of the above.
    """
    if split not in (*SPLITS, "all"):
        raise unknown_name("split", split, (*SPLITS, "all"))
    there = faces.split(split)
    if not len(there):
        counts = ", ".join(f"{name} {int((faces.splits == i).sum())}" for i, name in enumerate(SPLITS))
        raise ConfigError(f"split={split}: the data set has no faces there ({counts}).")
    if spec == "all":
        return there
    if spec == "auto" and not (there.labels >= 0).any():
        return there.take(torch.arange(min(len(there), UNLABELLED_COUNT)))
    spec = "per_class:1" if spec == "auto" else spec
    count = _per_class_count(spec)
    if count is not None:
        first = [(there.labels == label).nonzero().flatten()[:count] for label in range(len(there.classes))]
        return there.take(torch.cat(first))
    rows = [spec] if isinstance(spec, int) and not isinstance(spec, bool) else spec
    if not isinstance(rows, Sequence) or isinstance(rows, str) or not all(type(row) is int for row in rows) or not rows:
        raise ConfigError(f"faces={spec}: expected row numbers such as [0,299,5], per_class:<n>, or all.")
    place = {row: position for position, row in enumerate(there.rows.tolist())}
    for row in rows:
        if row not in place:
            elsewhere = [name for i, name in enumerate(SPLITS) if row in faces.rows[faces.splits == i].tolist()]
            where = f"it is in split={elsewhere[0]}" if elsewhere else _row_range(faces)
            raise ConfigError(f"faces={row}: split={split} has no such row; {where}.")
    return there.take(torch.tensor([place[row] for row in rows]))


def _per_class_count(spec: Any) -> int | None:
    if isinstance(spec, dict) and list(spec) == ["per_class"]:
        spec = f"per_class:{spec['per_class']}"
    found = re.fullmatch(r"per_class:\s*(\d+)", spec) if isinstance(spec, str) else None
    return int(found[1]) if found and int(found[1]) > 0 else None


def _row_range(faces: Faces) -> str:
    return f"the data set's rows are {int(faces.rows.min())} to {int(faces.rows.max())}"
