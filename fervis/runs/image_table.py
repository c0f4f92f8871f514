"""The table of images that trackers show: written with the run's other artifacts, read back from its folder alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fervis.core.folders import RunFolder
from fervis.core.intervals import format_number
from fervis.core.protocols import ImageRow
from fervis.core.results import Explanation
from fervis.system.files import atomic_path
from fervis.visualizers.figures.color import colorize, scale_of, to_rgb

MAX_ROWS = 100  # a tracker's page with more images is slow
MAX_SIDE = 256  # pixels; larger images are reduced
_LEADING_COLUMNS = ("row", "layer", "target", "checkpoint", "true", "predicted", "probability")


def write_image_table(folder: Path, explanation: Explanation, entries: list[dict[str, Any]]) -> None:
    """Write thumbnails of the faces and of their maps in colours, with scales and values, for any tracker.

    Each map has its own colour scale, which its row states. Nothing is written where the entries are not of faces.

    Args:
        folder: the run folder.
        explanation: of all entries.
        entries: of the run's summary, in the order of the explanation; the first hundred are written.
    """
    if not entries or not explanation.of_faces:
        return
    entries = entries[:MAX_ROWS]
    _, first_entry, face_of_entry = np.unique(
        [entry["row"] for entry in entries], return_index=True, return_inverse=True
    )
    arrays: dict[str, NDArray[Any]] = {
        "faces": np.stack([_thumbnail(to_rgb(explanation.faces.images[int(entry)])) for entry in first_entry]),
        "face_of_entry": face_of_entry.reshape(-1),
    }
    maps = explanation.result.arrays().get("maps")
    scales = [""] * len(entries)
    if maps is not None and maps.ndim == 3:  # one map per entry; other kinds of results hold several
        colored, scales = zip(*(_colored_map(values) for values in maps[: len(entries)]), strict=True)
        arrays["maps"] = np.stack(colored)
    values = [_row_values(entry, explanation, index) for index, entry in enumerate(entries)]
    arrays["values"] = np.array([json.dumps(row) for row in values])
    arrays["scales"] = np.array(scales)
    with atomic_path(RunFolder(folder).image_table) as partial, partial.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def read_image_table(folder: Path) -> list[ImageRow]:
    """Return the rows of a run folder's table of images; none where it has no table."""
    path = RunFolder(folder).image_table
    if not path.is_file():
        return []
    with np.load(path, allow_pickle=False) as arrays:
        faces, face_of_entry = arrays["faces"], arrays["face_of_entry"]
        maps = arrays["maps"] if "maps" in arrays else [None] * len(face_of_entry)
        return [
            ImageRow(faces[face], colored, str(scale), json.loads(str(values)))
            for face, colored, scale, values in zip(
                face_of_entry, maps, arrays["scales"], arrays["values"], strict=True
            )
        ]


def _row_values(entry: Mapping[str, Any], explanation: Explanation, index: int) -> dict[str, Any]:
    """Return the columns of a row: those of the summary, known ones first, then each class's probability."""
    values = {"true" if name == "label" else name: value for name, value in entry.items() if _is_scalar(value)}
    known = [name for name in _LEADING_COLUMNS if name in values]
    probabilities = {
        f"p({name})": round(float(value), 6)
        for name, value in zip(explanation.classes, explanation.probabilities[index], strict=True)
    }
    return {name: values[name] for name in [*known, *values]} | probabilities


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float)


def _colored_map(values: NDArray[np.float32]) -> tuple[NDArray[np.uint8], str]:
    """Return a map in colours, and the values of the first and the last colour as text."""
    scale = scale_of(values, signed=bool((values < 0).any()))
    colored = colorize(values, scale, "cividis" if scale.signed else "inferno")
    return _thumbnail(colored), f"{format_number(scale.low)} to {format_number(scale.high)}"


def _thumbnail(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Reduce an [H,W,3] image to at most ``MAX_SIDE`` pixels a side."""
    if max(pixels.shape[:2]) <= MAX_SIDE:
        return pixels
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((MAX_SIDE, MAX_SIDE))
    return np.asarray(image)
