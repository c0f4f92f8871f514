"""Select the faces of a split that ``faces=`` names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch

from fervis.core.faces import SPLITS, Faces
from fervis.errors import ConfigError, unknown_name

_UNLABELLED_COUNT = 16


def select_faces(faces: Faces, split: str, spec: Any) -> Faces:
    """Return the faces of a split that ``faces=`` names: ``all``, ``per_class:<n>``, row numbers in order, or ``auto``.

    ``per_class`` takes the first n faces of each class, in class order; ``auto`` one of each class, or the first faces
    where none has a label.

    Raises:
        ConfigError: an unknown split, a row that is not in it, classes of faces without labels, or another form.
    """
    if split not in (*SPLITS, "all"):
        raise unknown_name("split", split, (*SPLITS, "all"))
    chosen = faces.split(split)
    if not len(chosen):
        counts = ", ".join(f"{name} {int((faces.splits == i).sum())}" for i, name in enumerate(SPLITS))
        raise ConfigError(f"split={split}: the data set has no faces there ({counts}).")
    if spec == "all":
        return chosen
    labelled = bool((chosen.labels >= 0).any())
    if spec == "auto" and not labelled:
        return chosen.take(torch.arange(min(len(chosen), _UNLABELLED_COUNT)))
    spec = "per_class:1" if spec == "auto" else spec
    count = _per_class_count(spec)
    if count is None:
        return chosen.take(_row_positions(faces, chosen, split, spec))
    if not labelled:
        raise ConfigError(f"faces={spec}: no face of split={split} has a label; ask with row numbers or all.")
    first = [(chosen.labels == label).nonzero().flatten()[:count] for label in range(len(chosen.classes))]
    return chosen.take(torch.cat(first))


def _row_positions(faces: Faces, chosen: Faces, split: str, spec: Any) -> torch.Tensor:
    """Return the positions of rows among the faces of a split."""
    rows = [spec] if isinstance(spec, int) and not isinstance(spec, bool) else spec
    if not isinstance(rows, Sequence) or isinstance(rows, str) or not all(type(row) is int for row in rows) or not rows:
        raise ConfigError(f"faces={spec}: expected row numbers such as [0,299,5], per_class:<n>, or all.")
    position_of = {row: position for position, row in enumerate(chosen.rows.tolist())}
    for row in rows:
        if row not in position_of:
            elsewhere = [name for i, name in enumerate(SPLITS) if row in faces.rows[faces.splits == i].tolist()]
            where = f"it is in split={elsewhere[0]}" if elsewhere else _row_range(faces)
            raise ConfigError(f"faces={row}: split={split} has no such row; {where}.")
    return torch.tensor([position_of[row] for row in rows])


def _per_class_count(spec: Any) -> int | None:
    if isinstance(spec, dict) and list(spec) == ["per_class"]:
        spec = f"per_class:{spec['per_class']}"
    match = re.fullmatch(r"per_class:\s*(\d+)", spec) if isinstance(spec, str) else None
    return int(match[1]) if match and int(match[1]) > 0 else None


def _row_range(faces: Faces) -> str:
    return f"the data set's rows are {int(faces.rows.min())} to {int(faces.rows.max())}"
