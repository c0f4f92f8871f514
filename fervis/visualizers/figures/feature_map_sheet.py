"""One sheet of filter outputs: the face, a table of numbers, and a grid of tiles per checkpoint.

All lengths are in inches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from fervis.core.intervals import format_number
from fervis.core.results import Explanation, FeatureMaps
from fervis.visualizers.figures import canvas
from fervis.visualizers.figures.canvas import Sheet
from fervis.visualizers.figures.color import Scale, colorize, to_rgb
from fervis.visualizers.figures.style import FAINT_COLOR, MARGIN, TEXT_WIDTH

FACE_WIDTH = 1.3  # the column of the face
SMALL_FACE = 1.0  # where checkpoints are compared
SHEET_TOP = 0.24
NOTE_LINE = 0.115  # from a line of the table to the next
LEGEND_LINE = 0.105
SHEET_LEGEND = 4.5  # where the legend of a comparison begins
SHEET_LABEL = 0.1  # over a tile, for the filter's number and its black part
CHECKPOINT_NAME = 0.16  # over a checkpoint's grid
COLUMN_GAP = 0.12  # between the face and the grid
GRID_GAP_ACROSS, GRID_GAP_DOWN = 0.16, 0.2  # between two checkpoints' grids
TABLE_ROWS = {
    "black": ("black", "{:.1%}"),
    "sharpness": ("cycles per face", "{:.2f}"),
    "roughness": ("roughness", "{:.2f}"),
    "sparsity": ("sparsity", "{:.2f}"),
    "similarity": ("filters similar", "{:.2f}"),
    "face_visible": ("face visible", "{:.2f}"),
    "face_chance": ("others visible", "{:.2f}"),
}


def feature_maps_of(explanation: Explanation) -> FeatureMaps:
    """Return the result of an explanation of feature maps."""
    assert isinstance(explanation.result, FeatureMaps)
    return explanation.result


def label_of(explanation: Explanation, entry: int) -> str:
    """Return the label of an entry's face."""
    label = int(explanation.faces.labels[entry])
    return explanation.faces.classes[label] if label >= 0 else "unlabelled"


@dataclass(frozen=True)
class FeatureMapSheet:
    """One face at one layer: the grid of its outputs at its right, or those of several checkpoints below it.

    Attributes:
        explanation: of feature maps.
        entries: those of the face and layer, one per checkpoint that is drawn.
        scales: of each filter, the same for all entries.
        colormap: of the tiles.
        own: whether each filter has its own scale.
        clip: percentile that gets the last colour.
    """

    explanation: Explanation
    entries: Sequence[int]
    scales: list[Scale]
    colormap: str
    own: bool
    clip: float

    @property
    def several(self) -> bool:
        """Whether checkpoints are compared on this sheet."""
        return len(self.entries) > 1

    @property
    def count(self) -> int:
        """Number of filters."""
        return len(feature_maps_of(self.explanation).filters[self.entries[0]])

    @property
    def columns(self) -> int:
        """Number of tiles in a row."""
        return min(self.count, 8) if self.count <= 64 else min(16, int(np.ceil(self.count**0.5)))

    @property
    def room(self) -> float:
        """Width of a grid."""
        inner = TEXT_WIDTH - 2 * MARGIN
        return (inner - GRID_GAP_ACROSS) / 2 if self.several else inner - FACE_WIDTH - COLUMN_GAP

    @property
    def pitch(self) -> float:
        """From one tile to the next."""
        return min(self.room / self.columns, 1.1)

    def draw(self, dpi: int) -> Sheet:
        """Draw the sheet."""
        table = self._table()
        grid_height = -(-self.count // self.columns) * (self.pitch + SHEET_LABEL)
        head = SHEET_TOP + SMALL_FACE + COLUMN_GAP if self.several else SHEET_TOP
        tops = [head + index // 2 * (grid_height + GRID_GAP_DOWN) for index in range(len(self.entries))]
        below_table = SHEET_TOP + FACE_WIDTH + 0.06 + NOTE_LINE * len(table) + 0.08
        notes = self._notes(TEXT_WIDTH - MARGIN - SHEET_LEGEND if self.several else FACE_WIDTH)
        bottom = tops[-1] + grid_height + (CHECKPOINT_NAME if self.several else 0)
        if not self.several:
            bottom = max(bottom, below_table + 0.225 + LEGEND_LINE * len(notes))
        sheet = canvas.new_figure(TEXT_WIDTH, bottom + 0.03, dpi)

        self._heading(sheet)
        face = SMALL_FACE if self.several else FACE_WIDTH
        canvas.add_image(sheet, MARGIN, SHEET_TOP, face, to_rgb(self.explanation.faces.images[self.entries[0]]))
        if self.several:
            left = MARGIN + SMALL_FACE + COLUMN_GAP
            step = (SHEET_LEGEND - 0.2 - left - 1.0) / len(self.entries)
            _write_table(sheet, table, left, SHEET_TOP, 1.0, step)
            self._legend(sheet, notes, SHEET_LEGEND, SHEET_TOP + 0.02, TEXT_WIDTH - MARGIN - SHEET_LEGEND)
        else:
            _write_table(sheet, table, MARGIN, SHEET_TOP + FACE_WIDTH + 0.06, 0.7, FACE_WIDTH - 0.7)
            self._legend(sheet, notes, MARGIN, below_table, FACE_WIDTH)
        for index, (entry, top) in enumerate(zip(self.entries, tops, strict=True)):
            if self.several:
                left = MARGIN + index % 2 * (self.room + GRID_GAP_ACROSS)
                name = f"checkpoint {self.explanation.checkpoints[entry]}"
                canvas.add_text(sheet, left, top, name, room=self.room, size=7, fontweight="bold")
                self._grid(sheet, entry, left, top + CHECKPOINT_NAME)
            else:
                self._grid(sheet, entry, MARGIN + FACE_WIDTH + COLUMN_GAP, top)
        return sheet

    def _heading(self, sheet: Sheet) -> None:
        explanation, first = self.explanation, self.entries[0]
        named = f", {explanation.checkpoints[first]}" if explanation.several_checkpoints and not self.several else ""
        face = f"{label_of(explanation, first)}, face {int(explanation.faces.rows[first])}"
        title = f"Outputs of {explanation.layers[first]}{named} · {face}"
        canvas.add_text(sheet, MARGIN, 0.03, title, room=4.9, size=8.5, fontweight="bold")
        source = f"{explanation.model} · {explanation.dataset}"
        canvas.add_text(sheet, TEXT_WIDTH - MARGIN, 0.04, source, room=1.4, size=6.5, ha="right", color=FAINT_COLOR)

    def _grid(self, sheet: Sheet, entry: int, left: float, top: float) -> None:
        result, side = feature_maps_of(self.explanation), self.pitch - 0.05
        tiles = zip(result.filters[entry], result.outputs[entry].numpy(), result.black[entry].tolist(), strict=True)
        size = 6.0 if side > 0.5 else 5.0
        for index, (number, values, black) in enumerate(tiles):
            x = left + index % self.columns * self.pitch
            y = top + index // self.columns * (self.pitch + SHEET_LABEL)
            canvas.add_text(sheet, x, y + 0.005, str(number), room=side / 2, size=size, fontweight="bold")
            canvas.add_text(
                sheet, x + side, y + 0.005, f"{black:.0%}", room=side / 2, size=size, ha="right", color=FAINT_COLOR
            )
            pixels = colorize(values, self.scales[index], self.colormap)
            canvas.add_image(sheet, x, y + SHEET_LABEL, side, pixels)

    def _notes(self, room: float) -> list[str]:
        """Describe what black is, how the maps were scaled and what stands over them."""
        tops = sorted(scale.high for scale in self.scales)
        scaled = f"each filter its own scale (maximum: {format_number(tops[0])} to {format_number(tops[-1])})"
        notes = [
            "black: zero and below",
            scaled if self.own and len(self.scales) > 1 else "one scale for all filters",
            *(["the checkpoints share it"] if self.explanation.several_checkpoints else []),
            *([f"last colour from percentile {self.clip:g} up"] if self.clip < 100 else []),
            "over each: filter, and its black part",
        ]
        return [line for note in notes for line in canvas.wrap_text(note, room=room, size=6.0)]

    def _legend(self, sheet: Sheet, notes: list[str], left: float, top: float, room: float) -> None:
        """Draw the colour bar and the notes under it."""
        most = max(scale.high for scale in self.scales)
        own = self.own and len(self.scales) > 1
        ticks = ("0", "", "maximum") if own else ("0", format_number(most / 2), format_number(most))
        canvas.colour_bar(sheet, left, top, room, self.colormap, ticks)
        for line, text in enumerate(notes):
            canvas.add_text(sheet, left, top + 0.225 + LEGEND_LINE * line, text, room=room, size=6.0)

    def _table(self) -> list[tuple[str, list[str]]]:
        """Return what each entry's network predicts, and its numbers: a name and one value per entry in each row."""
        explanation, entries = self.explanation, list(self.entries)
        result = feature_maps_of(explanation)
        numbers = {"black": torch.stack([result.black[entry].mean() for entry in entries])}
        numbers |= {name: values[entries] for name, values in result.numbers.items()}
        rows = [("checkpoint", [explanation.checkpoints[entry] for entry in entries])] if self.several else []
        best = [
            (int(explanation.predictions[entry]), float(explanation.probabilities[entry].max())) for entry in entries
        ]
        rows.append(("predicted", [f"{explanation.classes[guess]} {share:.2f}" for guess, share in best]))
        for name, (text, form) in TABLE_ROWS.items():
            if name in numbers and not numbers[name].isnan().all():
                values = numbers[name].tolist()
                rows.append((text, [form.format(value) if value == value else "none" for value in values]))
        return rows


def _write_table(
    sheet: Sheet, table: list[tuple[str, list[str]]], left: float, top: float, first: float, step: float
) -> None:
    """Write rows of a name, ``first`` inches wide, and of values in columns of ``step`` inches, aligned right."""
    for row, (name, values) in enumerate(table):
        y = top + NOTE_LINE * row
        canvas.add_text(sheet, left, y, name, room=first, size=6.5, color=FAINT_COLOR)
        for column, value in enumerate(values, 1):
            canvas.add_text(sheet, left + first + column * step, y, value, room=step - 0.04, size=6.5, ha="right")
