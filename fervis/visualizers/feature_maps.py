"""Outputs of a layer's filters beside the face they are of, and how their numbers change with depth.

Black is zero and below, in every figure. A sheet has one scale for all filters, or one for each, and several
checkpoints of one face and layer always share it. All lengths are in inches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from fervis.core.intervals import Interval, format_interval, format_number
from fervis.core.results import Explanation, FeatureMaps, Figure
from fervis.errors import ConfigError, nearest_name
from fervis.metrics.bootstrap import bootstrap_mean, resample_indices
from fervis.system.progress import progress
from fervis.visualizers.figures import canvas
from fervis.visualizers.figures.canvas import FAINT_COLOR, Sheet
from fervis.visualizers.figures.color import Scale, colorize, known_colormap, to_rgb
from fervis.visualizers.figures.line_panels import LayerSeries, draw_trends, series_note

SHEET_WIDTH = 6.5  # the text width of a paper
SHEET_MARGIN = 0.04
FACE_WIDTH = 1.3  # the column of the face
SHEET_TOP = 0.24
NOTE_LINE = 0.115  # from a line of the table to the next
SHEET_LEGEND = 4.5  # where the legend of a comparison begins
SHEET_LABEL = 0.1  # over a tile, for the filter's number and its black part
TREND_SEED = 0  # of the resamples behind the intervals
MEASURE_NAMES = {
    "black": "black (part at or below 0)",
    "sparsity": "sparsity (0 even to 1 one place)",
    "similarity": "likeness of filters (|r|)",
    "sharpness": "sharpness (cycles a face)",
    "roughness": "roughness (1: as white noise)",
    "face_visible": "face shows (|r|)",
}
CHANCE_MEASURES = "face_chance"
TABLE_ROWS = {
    "black": ("black", "{:.1%}"),
    "sharpness": ("cycles a face", "{:.2f}"),
    "roughness": ("roughness", "{:.2f}"),
    "sparsity": ("sparsity", "{:.2f}"),
    "similarity": ("filters alike", "{:.2f}"),
    "face_visible": ("face shows", "{:.2f}"),
    CHANCE_MEASURES: ("others show", "{:.2f}"),
}


@dataclass
class FeatureMapsSheet:
    """Draws the outputs of filters.

    Attributes:
        dpi: dots an inch.
        colormap: matplotlib's name of the colours; the first is zero and below.
        scale: ``own`` (each filter from 0 to its own most) or ``shared`` (one scale for all filters of a sheet).
        clip: percentile of the values that gets the last colour, in [50, 100].
        max_single: an answer of more sheets draws the first faces, whole, up to so many (one face at least; 0: none),
            and the trend of all.
    """

    dpi: int = 300
    colormap: str = "gray"
    scale: str = "own"
    clip: float = 100.0
    max_single: int = 16
    kind: ClassVar[str] = FeatureMaps.kind

    def __post_init__(self) -> None:
        known_colormap("visualizer.colormap", self.colormap)
        if self.scale not in ("own", "shared"):
            hint = nearest_name(self.scale, ("own", "shared"))
            raise ConfigError(f"visualizer.scale={self.scale}: expected own or shared.{hint}")
        for name, low, high in (("dpi", 30, 1200), ("clip", 50, 100), ("max_single", 0, 1000)):
            if not low <= getattr(self, name) <= high:
                raise ConfigError(f"visualizer.{name}={getattr(self, name)}: expected a number from {low} to {high}.")

    def draw(self, explanation: Explanation, folder: Path) -> list[Figure]:
        """Write ``trend.png`` (several layers, or more sheets than are drawn) and ``<row>_<layer>.png`` a sheet.

        Where checkpoints are compared, that sheet shows them side by side, and ``<row>_<layer>_<checkpoint>.png`` each
        of them alone on the same scale.
        """
        faces: dict[int, dict[str, list[int]]] = {}
        for entry, (row, layer) in enumerate(zip(explanation.faces.rows.tolist(), explanation.layers, strict=True)):
            faces.setdefault(row, {}).setdefault(layer, []).append(entry)
        layers = list(dict.fromkeys(explanation.layers))
        sheets = sum(len(entries) + (len(entries) > 1) for entries in next(iter(faces.values())).values())
        drawn = list(faces.items())[: max(1, self.max_single // sheets) if self.max_single else 0]
        figures: list[Figure] = []

        def keep(sheet: Sheet, name: str, caption: str) -> None:
            canvas.save_figure(sheet, folder / f"{name}.png", self.dpi)
            figures.append(Figure(folder / f"{name}.png", caption))

        used: set[str] = {"trend"}
        with canvas.plain_style():
            if len(layers) > 1 or len(drawn) < len(faces):
                keep(*self.trend(explanation, layers))
            for row, places in drawn:
                for layer, entries in progress(places.items(), f"drawing {row}", "sheet"):
                    scales = self.scales(explanation, entries)
                    name = canvas.file_name(row, layer, used=used)
                    keep(self.sheet(explanation, entries, scales), name, _sheet_caption(explanation, entries))
                    for entry in entries if len(entries) > 1 else ():
                        name = canvas.file_name(row, layer, explanation.checkpoints[entry], used=used)
                        keep(self.sheet(explanation, [entry], scales), name, _sheet_caption(explanation, [entry]))
        return figures

    def scales(self, explanation: Explanation, entries: Sequence[int]) -> list[Scale]:
        """A scale for each filter, from black to the most over these entries: its own, or that of all filters."""
        maps = torch.stack([_feature_maps(explanation).outputs[entry] for entry in entries], 1).flatten(1).numpy()
        groups = maps if self.scale == "own" else maps.reshape(1, -1)
        tops = [max(0.0, float(np.percentile(group, self.clip)) or float(group.max())) for group in groups]
        tops = tops if self.scale == "own" else tops * len(maps)
        return [Scale(0.0, top, False, float(one.min()), float(one.max())) for top, one in zip(tops, maps, strict=True)]

    def sheet(self, explanation: Explanation, entries: Sequence[int], scales: list[Scale]) -> Sheet:
        """One face at one layer: the grid of its outputs beside it, or of several checkpoints side by side below it."""
        result, first = _feature_maps(explanation), entries[0]
        several = len(entries) > 1
        count = len(result.filters[first])
        columns = min(count, 8) if count <= 64 else min(16, int(np.ceil(count**0.5)))
        room = (
            (SHEET_WIDTH - 2 * SHEET_MARGIN - 0.16) / 2
            if several
            else SHEET_WIDTH - 2 * SHEET_MARGIN - FACE_WIDTH - 0.12
        )
        pitch = min(room / columns, 1.1)
        tall = -(-count // columns) * (pitch + SHEET_LABEL)
        table = _measure_table(explanation, entries)
        face = 1.0 if several else FACE_WIDTH
        head = SHEET_TOP + face + 0.12 if several else SHEET_TOP
        down = [head + place // 2 * (tall + 0.2) for place in range(len(entries))]
        shared = explanation.several_checkpoints
        beside = SHEET_TOP + FACE_WIDTH + 0.06 + NOTE_LINE * len(table) + 0.08
        notes = self._notes(scales, SHEET_WIDTH - SHEET_MARGIN - SHEET_LEGEND if several else FACE_WIDTH, shared=shared)
        least = 0 if several else beside + 0.225 + 0.105 * len(notes)
        bottom = down[-1] + (0.16 if several else 0) + tall
        sheet = canvas.new_figure(SHEET_WIDTH, max(bottom, least) + 0.03, self.dpi)

        canvas.add_text(
            sheet, SHEET_MARGIN, 0.03, _sheet_title(explanation, entries), room=4.9, size=8.5, fontweight="bold"
        )
        source = f"{explanation.model} · {explanation.dataset}"
        canvas.add_text(
            sheet, SHEET_WIDTH - SHEET_MARGIN, 0.04, source, room=1.4, size=6.5, ha="right", color=FAINT_COLOR
        )
        canvas.add_image(sheet, SHEET_MARGIN, SHEET_TOP, face, to_rgb(explanation.faces.images[first]))
        if several:
            step = (SHEET_LEGEND - 0.2 - SHEET_MARGIN - face - 0.12 - 1.0) / len(entries)
            _write_table(sheet, table, SHEET_MARGIN + face + 0.12, SHEET_TOP, 1.0, step)
            self._legend(
                sheet, scales, notes, SHEET_LEGEND, SHEET_TOP + 0.02, SHEET_WIDTH - SHEET_MARGIN - SHEET_LEGEND
            )
        else:
            _write_table(sheet, table, SHEET_MARGIN, SHEET_TOP + FACE_WIDTH + 0.06, 0.7, FACE_WIDTH - 0.7)
            self._legend(sheet, scales, notes, SHEET_MARGIN, beside, FACE_WIDTH)
        for place, (entry, over) in enumerate(zip(entries, down, strict=True)):
            left = SHEET_MARGIN + place % 2 * (room + 0.16) if several else SHEET_MARGIN + FACE_WIDTH + 0.12
            if several:
                name = f"checkpoint {explanation.checkpoints[entry]}"
                canvas.add_text(sheet, left, over, name, room=room, size=7, fontweight="bold")
            self._grid(sheet, result, entry, scales, left, over + (0.16 if several else 0), pitch, columns)
        return sheet

    def trend(self, explanation: Explanation, layers: list[str]) -> tuple[Sheet, str, str]:
        """The numbers over the layers, mean over faces with the 95 % bootstrap interval: sheet, name, caption."""
        result, checkpoints = _feature_maps(explanation), list(dict.fromkeys(explanation.checkpoints)) or [""]
        tables = {"black": torch.stack([black.mean() for black in result.black]), **result.numbers}
        names = explanation.checkpoints or ("",) * len(explanation.layers)
        where = {
            (name, layer): torch.tensor([pair == (name, layer) for pair in zip(names, explanation.layers, strict=True)])
            for name in checkpoints
            for layer in layers
        }

        def over_faces(key: str) -> dict[str, list[Interval]]:
            return {name: [_mean_interval(tables[key][where[name, layer]]) for layer in layers] for name in checkpoints}

        trends = [LayerSeries(words, over_faces(key)) for key, words in MEASURE_NAMES.items() if key in tables]
        if CHANCE_MEASURES in tables:
            last = trends[-1]
            trends[-1] = LayerSeries(last.name, last.series, over_faces(CHANCE_MEASURES), "other faces")
        faces = int(where[checkpoints[0], layers[0]].sum())
        filters = max(map(len, result.filters))
        title = f"Outputs by layer · {explanation.model} on {explanation.dataset}"
        note = f"mean over {faces} face{'s' * (faces > 1)}" + " with its 95 % bootstrap interval" * (faces > 1)
        note = "; ".join(part for part in (note, f"up to {filters} filters a layer", series_note(checkpoints)) if part)
        sheet = draw_trends(trends, layers, title=title, note=note, dpi=self.dpi)
        told = [
            f"{trend.name}{f' at checkpoint {name}' * (len(checkpoints) > 1)}: "
            f"{format_interval(values[0], missing='none')} at {layers[0]}"
            + f", {format_interval(values[-1], missing='none')} at {layers[-1]}"
            * (len(layers) > 1)
            for trend in trends
            for name, values in trend.series.items()
        ]
        return sheet, "trend", f"{title}, {note}. " + "; ".join(told) + "."

    def _grid(
        self,
        sheet: Sheet,
        result: FeatureMaps,
        entry: int,
        scales: list[Scale],
        left: float,
        top: float,
        pitch: float,
        columns: int,
    ) -> None:
        side = pitch - 0.05
        tiles = zip(result.filters[entry], result.outputs[entry].numpy(), result.black[entry].tolist(), strict=True)
        size = 6.0 if side > 0.5 else 5.0
        for place, (number, values, black) in enumerate(tiles):
            x, y = left + place % columns * pitch, top + place // columns * (pitch + SHEET_LABEL)
            canvas.add_text(sheet, x, y + 0.005, str(number), room=side / 2, size=size, fontweight="bold")
            canvas.add_text(
                sheet, x + side, y + 0.005, f"{black:.0%}", room=side / 2, size=size, ha="right", color=FAINT_COLOR
            )
            canvas.add_image(sheet, x, y + SHEET_LABEL, side, colorize(values, scales[place], self.colormap))

    def _notes(self, scales: list[Scale], room: float, *, shared: bool) -> list[str]:
        """In words what black is, how the maps were scaled and what stands over them."""
        most = sorted(scale.high for scale in scales)
        scaled = f"each filter its own scale (most: {format_number(most[0])} to {format_number(most[-1])})"
        notes = [
            "black: zero and below",
            scaled if self.scale == "own" and len(scales) > 1 else "one scale for all filters",
            *(["the checkpoints share it"] if shared else []),
            *([f"last colour from percentile {self.clip:g} up"] if self.clip < 100 else []),
            "over each: filter, and its black part",
        ]
        return [line for note in notes for line in canvas.wrap_text(note, room=room, size=6.0)]

    def _legend(
        self, sheet: Sheet, scales: list[Scale], notes: list[str], left: float, top: float, room: float
    ) -> None:
        """The colour bar and the notes under it."""
        most = max(scale.high for scale in scales)
        own = self.scale == "own" and len(scales) > 1
        ticks = ("0", "", "its most") if own else ("0", format_number(most / 2), format_number(most))
        canvas.colour_bar(sheet, left, top, room, self.colormap, ticks)
        for place, text in enumerate(notes):
            canvas.add_text(sheet, left, top + 0.225 + 0.105 * place, text, room=room, size=6.0)


def _feature_maps(explanation: Explanation) -> FeatureMaps:
    assert isinstance(explanation.result, FeatureMaps)
    return explanation.result


def _mean_interval(values: Tensor) -> Interval:
    """The mean with its interval, which one face does not have."""
    known = int(values.isfinite().sum())
    if known < 2:
        return Interval(float(values.nanmean()))
    return bootstrap_mean(values, resample_indices(len(values), torch.Generator().manual_seed(TREND_SEED)))


def _sheet_label(explanation: Explanation, entry: int) -> str:
    label = int(explanation.faces.labels[entry])
    return explanation.faces.classes[label] if label >= 0 else "unlabelled"


def _sheet_title(explanation: Explanation, entries: Sequence[int]) -> str:
    first = entries[0]
    named = "" if len(entries) > 1 or not explanation.several_checkpoints else f", {explanation.checkpoints[first]}"
    label = _sheet_label(explanation, first)
    return f"Outputs of {explanation.layers[first]}{named} · {label}, face {int(explanation.faces.rows[first])}"


def _measure_table(explanation: Explanation, entries: Sequence[int]) -> list[tuple[str, list[str]]]:
    """What each entry's network makes of the face, and its numbers: a name and a value an entry in each row."""
    result = _feature_maps(explanation)
    numbers = {"black": torch.stack([result.black[entry].mean() for entry in entries])}
    numbers |= {name: values[list(entries)] for name, values in result.numbers.items()}
    names = [explanation.checkpoints[entry] for entry in entries] if len(entries) > 1 else []
    best = [(int(explanation.predictions[entry]), float(explanation.probabilities[entry].max())) for entry in entries]
    rows = [("checkpoint", names)] if names else []
    rows.append(("predicted", [f"{explanation.classes[guess]} {share:.2f}" for guess, share in best]))
    for name, (words, form) in TABLE_ROWS.items():
        if name in numbers and not numbers[name].isnan().all():
            rows.append((words, [form.format(one) if one == one else "none" for one in numbers[name].tolist()]))
    return rows


def _write_table(
    sheet: Sheet, table: list[tuple[str, list[str]]], left: float, top: float, first: float, step: float
) -> None:
    """Rows of a name, ``first`` inches wide, and of values in columns of ``step`` inches, ranged right."""
    for place, (name, values) in enumerate(table):
        y = top + NOTE_LINE * place
        canvas.add_text(sheet, left, y, name, room=first, size=6.5, color=FAINT_COLOR)
        for column, value in enumerate(values, 1):
            canvas.add_text(sheet, left + first + column * step, y, value, room=step - 0.04, size=6.5, ha="right")


def _sheet_caption(explanation: Explanation, entries: Sequence[int]) -> str:
    result, first = _feature_maps(explanation), entries[0]
    sentences = [
        f"Outputs of {len(result.filters[first])} filters of {explanation.layers[first]} of {explanation.model} for "
        f"face {int(explanation.faces.rows[first])} of {explanation.dataset}, labelled "
        f"{_sheet_label(explanation, first)}"
    ]
    for entry in entries:
        black, filters = result.black[entry], result.filters[entry]
        named = f"Checkpoint {explanation.checkpoints[entry]}: " if explanation.several_checkpoints else ""
        known = {name: float(values[entry]) for name, values in result.numbers.items() if values[entry].isfinite()}
        sentences.append(
            f"{named}{float(black.mean()):.1%} is black (at or below zero), from {float(black.min()):.0%} of filter "
            f"{filters[int(black.argmin())]} to {float(black.max()):.0%} of filter {filters[int(black.argmax())]}; "
            + ", ".join(f"{name} {value:.2f}" for name, value in known.items())
        )
    return ". ".join(sentences) + "."
