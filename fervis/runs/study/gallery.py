"""The gallery of a study: the maps of all its methods for the same faces, on one sheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fervis.errors import RunError
from fervis.reporting.run_files import read_config
from fervis.runs.study.drawing import Drawing, Drawn
from fervis.runs.study.run_maps import explainer_family, explainer_of, has_heat_maps
from fervis.system.files import read_json
from fervis.visualizers.figures.figure_writer import FigureWriter
from fervis.visualizers.figures.study.gallery import CLIP, GalleryRow, draw_gallery

GALLERY = "gallery"


def draw_gallery_of(drawing: Drawing, answers: Sequence[Path], folder: Path) -> Drawn:
    """Draw the maps of all parts that give heat maps, one map per face: the first, where a part has several.

    Args:
        drawing: the figure.
        answers: run folders of the parts.
        folder: where the figure is written.

    Raises:
        RunError: no part gives heat maps, or two of them explain other faces.
    """
    of_maps = [answer for answer in answers if has_heat_maps(read_config(answer)[1])]
    if not of_maps:
        raise RunError(f"{drawing.title}: no part of the study gives heat maps.")
    rows, labels, faces = _faces_of_run(of_maps[0])
    items = []
    for answer in of_maps:
        entries = read_json(answer / "summary.json")["entries"]
        first = _first_entries(entries)
        if {*rows} - {*first}:
            raise RunError(f"{drawing.title}: {answer.name} explains other faces than {of_maps[0].name}.")
        with np.load(answer / "arrays.npz", allow_pickle=False) as arrays:
            maps = arrays["maps"][[first[row] for row in rows]]
        name = explainer_of(read_config(answer)[1])
        family = explainer_family(name).replace("_", " ")
        items.append(GalleryRow(name, f"{family} · {entries[first[rows[0]]]['layer']}", maps))
    with FigureWriter(folder, drawing.dpi) as writer:
        sheet = draw_gallery(drawing.title, faces, labels, items, drawing.dpi)
        return Drawn([writer.save(sheet, GALLERY, _caption(items, len(rows)))])


def _faces_of_run(answer: Path) -> tuple[list[int], list[str], list[Any]]:
    """Return row, label and picture of each face of a run, each once."""
    entries = read_json(answer / "summary.json")["entries"]
    with np.load(answer / "tracker_table.npz", allow_pickle=False) as table:
        pictures = table["faces"][table["face_of_entry"]]
    first = _first_entries(entries)
    rows = list(first)
    return rows, [entries[first[row]]["label"] for row in rows], [pictures[first[row]] for row in rows]


def _first_entries(entries: Sequence[Mapping[str, Any]]) -> dict[int, int]:
    """Return the number of each image's first entry, by row."""
    first: dict[int, int] = {}
    for number, entry in enumerate(entries):
        first.setdefault(entry["row"], number)
    return first


def _caption(items: Sequence[GalleryRow], faces: int) -> str:
    names = ", ".join(item.name for item in items)
    return (
        f"Maps of {len(items)} methods for the same {faces} faces: {names}. Each method has one scale for all its "
        f"maps, which ends at percentile {CLIP:g} of its values."
    )
