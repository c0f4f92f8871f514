"""Figures that a study draws from the run folders of several parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fervis.core.registry import plugin_class
from fervis.core.results import Figure, HeatMaps
from fervis.errors import ConfigError, RunError
from fervis.reporting.run_files import read_config
from fervis.runs.study.leaderboard import LEADERBOARD
from fervis.system.files import read_json
from fervis.visualizers.figures.figure_writer import FigureWriter
from fervis.visualizers.figures.gallery import CLIP, GalleryRow, draw_gallery

DRAWING_KEYS = ("title", "draw", "dpi")
GALLERY = "gallery"
DRAWINGS = (GALLERY, LEADERBOARD)


@dataclass(frozen=True)
class Drawing:
    """A figure over several parts.

    Attributes:
        title: heading of its section in the report, and of the figure.
        dpi: dots per inch.
        kind: ``gallery``, or ``leaderboard`` of the parts' measures of evidence.
    """

    title: str
    dpi: int
    kind: str = GALLERY


def study_drawings(settings: Sequence[Mapping[str, Any]]) -> list[Drawing]:
    """Parse those entries of a study's ``parts`` that draw over the others.

    Raises:
        ConfigError: an entry lacks a key or has one too many, or names an unknown drawing.
    """
    drawings = []
    for stated in settings:
        if set(stated) != set(DRAWING_KEYS) or stated["draw"] not in DRAWINGS:
            raise ConfigError(
                f"parts: {dict(stated)}: expected {', '.join(DRAWING_KEYS)}, with draw: {' or '.join(DRAWINGS)}."
            )
        drawings.append(Drawing(str(stated["title"]), int(stated["dpi"]), str(stated["draw"])))
    return drawings


def draw_over_parts(drawing: Drawing, answers: Sequence[Path], folder: Path) -> Figure:
    """Draw the maps of all parts that give heat maps, one map per face: the first, where a part has several.

    Args:
        drawing: the figure.
        answers: run folders of the parts.
        folder: where the figure is written.

    Raises:
        RunError: no part gives heat maps, or two of them explain other faces.
    """
    of_maps = [answer for answer in answers if plugin_class("explainer", _explainer(answer)).result is HeatMaps]
    if not of_maps:
        raise RunError(f"{drawing.title}: no part of the study gives heat maps.")
    rows, labels, faces = _faces_of_run(of_maps[0])
    items = []
    for answer in of_maps:
        entries = read_json(answer / "summary.json")["entries"]
        first = {entry["row"]: number for number, entry in reversed([*enumerate(entries)])}
        if {*rows} - {*first}:
            raise RunError(f"{drawing.title}: {answer.name} explains other faces than {of_maps[0].name}.")
        with np.load(answer / "arrays.npz", allow_pickle=False) as arrays:
            maps = arrays["maps"][[first[row] for row in rows]]
        name = _explainer(answer)
        family = plugin_class("explainer", name).__module__.split(".")[-2].replace("_", " ")
        items.append(GalleryRow(name, f"{family} · {entries[first[rows[0]]]['layer']}", maps))
    with FigureWriter(folder, drawing.dpi) as writer:
        sheet = draw_gallery(drawing.title, faces, labels, items, drawing.dpi)
        return writer.save(sheet, GALLERY, _caption(items, len(rows)))


def _explainer(answer: Path) -> str:
    return str(read_config(answer)[1]["explainer"]["name"])


def _faces_of_run(answer: Path) -> tuple[list[int], list[str], list[Any]]:
    """Return row, label and picture of each face of a run, each once."""
    entries = read_json(answer / "summary.json")["entries"]
    with np.load(answer / "tracker_table.npz", allow_pickle=False) as table:
        pictures = table["faces"][table["face_of_entry"]]
    first = {entry["row"]: number for number, entry in reversed([*enumerate(entries)])}
    rows = sorted(first, key=lambda row: first[row])
    return rows, [entries[first[row]]["label"] for row in rows], [pictures[first[row]] for row in rows]


def _caption(items: Sequence[GalleryRow], faces: int) -> str:
    names = ", ".join(item.name for item in items)
    return (
        f"Maps of {len(items)} methods for the same {faces} faces: {names}. Each method has one scale for all its "
        f"maps, which ends at percentile {CLIP:g} of its values."
    )
