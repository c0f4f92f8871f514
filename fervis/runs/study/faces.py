"""The faces that the parts of a study explain, each data set loaded once."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch

from fervis.core.faces import Faces
from fervis.core.registry import build_plugin

FacesLoader = Callable[[Mapping[str, Any], Sequence[int]], Faces]


def faces_loader() -> FacesLoader:
    """Return a function from the config of a run and rows to the faces of these rows; it loads each data set once."""

    @cache
    def load(stated: str) -> tuple[Faces, dict[int, int]]:
        settings, outputs = json.loads(stated)
        faces = build_plugin("dataset", settings).load(Path(outputs) / "cache")
        return faces, {row: position for position, row in enumerate(faces.rows.tolist())}

    def faces_of(config: Mapping[str, Any], rows: Sequence[int]) -> Faces:
        faces, positions = load(json.dumps([config["dataset"], config["outputs"]]))
        return faces.take(torch.tensor([positions[row] for row in rows]))

    return faces_of
