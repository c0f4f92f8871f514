"""Each face with its nearest neighbours in a layer's space: distance, label and row of each.

All lengths are in inches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from fervis.core.intervals import MISSING, format_number
from fervis.core.knobs import Whole
from fervis.core.results import Explanation, Figure, NearestFaces
from fervis.visualizers.figures import canvas
from fervis.visualizers.figures.canvas import Sheet
from fervis.visualizers.figures.color import to_rgb
from fervis.visualizers.figures.figure_writer import Dpi, FigureWriter
from fervis.visualizers.figures.style import BLUE, FAINT_COLOR, MARGIN, RED, TEXT_WIDTH

NEAREST_TOP = 0.4
NEAREST_NAMES = 0.92  # the column of labels and predictions
NEAREST_SIDE = 0.7  # of a face
NEAREST_GAP = 0.12
NEAREST_TEXT = 0.24  # under a face
NEAREST_ROWS = 8  # faces per sheet
NEAREST_COLUMNS = 6  # neighbours per line


@dataclass
class NearestFacesSheet:
    """Draws faces with their neighbours.

    Attributes:
        dpi: dots per inch.
        max_rows: up to how many faces are drawn per layer.
    """

    dpi: Dpi = 300
    max_rows: Annotated[int, Whole(1)] = 40
    kind: ClassVar[str] = NearestFaces.kind

    def draw(self, explanation: Explanation, folder: Path) -> list[Figure]:
        """Write ``<layer>.png`` per layer and checkpoint, or ``<layer>_1.png`` and on where it fills several sheets."""
        with FigureWriter(folder, self.dpi) as writer:
            for (layer, checkpoint), every in explanation.entries_by_layer().items():
                named = [layer, checkpoint] if explanation.several_checkpoints else [layer]
                entries = every[: self.max_rows]
                pages = [entries[start : start + NEAREST_ROWS] for start in range(0, len(entries), NEAREST_ROWS)]
                for number, page in enumerate(pages, 1):
                    part = [number] if len(pages) > 1 else []
                    sheet = self.sheet(explanation, page, " · ".join(named))
                    writer.save(sheet, writer.name(*named, *part), _nearest_caption(explanation, page, named))
        return writer.figures

    def sheet(self, explanation: Explanation, entries: Sequence[int], name: str) -> Sheet:
        """Draw some faces of one layer."""
        result: NearestFaces = explanation.result
        count = result.rows.shape[1]
        lines = -(-count // NEAREST_COLUMNS)
        step = NEAREST_SIDE + NEAREST_TEXT + 0.06
        sheet = canvas.new_figure(TEXT_WIDTH, NEAREST_TOP + step * lines * len(entries), self.dpi)
        canvas.add_heading(sheet, f"Nearest faces at {name} · {explanation.model} on {explanation.dataset}")
        note = f"under each neighbour its label (blue: the face's own) and its {result.metric} distance · its row"
        room = TEXT_WIDTH - 2 * MARGIN
        canvas.add_text(sheet, MARGIN, 0.19, note, room=room, size=6.5, color=FAINT_COLOR)
        for line, entry in enumerate(entries):
            top = NEAREST_TOP + line * lines * step
            left = MARGIN + NEAREST_NAMES
            for position, (text, style) in enumerate(_nearest_words(explanation, entry)):
                canvas.add_text(
                    sheet, MARGIN, top + 0.13 * position, text, room=NEAREST_NAMES - 0.06, size=6.5, **style
                )
            canvas.add_image(sheet, left, top, NEAREST_SIDE, to_rgb(explanation.faces.images[entry]))
            for number in range(count):
                x = left + (number % NEAREST_COLUMNS + 1) * (NEAREST_SIDE + NEAREST_GAP / 2) + NEAREST_GAP
                self._neighbour(sheet, explanation, entry, number, (x, top + number // NEAREST_COLUMNS * step))
        return sheet

    def _neighbour(
        self, sheet: Sheet, explanation: Explanation, entry: int, number: int, corner: tuple[float, float]
    ) -> None:
        """Draw one neighbour with its label, distance and row; nothing where a face has fewer."""
        result: NearestFaces = explanation.result
        row, (left, top) = int(result.rows[entry, number]), corner
        if row < 0:
            return
        canvas.add_image(sheet, left, top, NEAREST_SIDE, to_rgb(result.images[entry, number]))
        label, own = int(result.labels[entry, number]), int(explanation.faces.labels[entry])
        color = FAINT_COLOR if min(label, own) < 0 else BLUE if label == own else RED
        middle, under = left + NEAREST_SIDE / 2, top + NEAREST_SIDE + 0.015
        style: dict[str, Any] = {"ha": "center", "room": NEAREST_SIDE + 0.05}
        name = explanation.faces.classes[label] if label >= 0 else MISSING
        canvas.add_text(sheet, middle, under, name, size=6.0, color=color, **style)
        note = f"{format_number(float(result.distances[entry, number]))} · {row}"
        canvas.add_text(sheet, middle, under + 0.1, note, size=5.5, **style)


def _nearest_words(explanation: Explanation, entry: int) -> list[tuple[str, dict[str, Any]]]:
    """Return the lines at the left of a face."""
    faces, result = explanation.faces, explanation.result
    label = int(faces.labels[entry])
    faint = {"color": FAINT_COLOR}
    lines: list[tuple[str, dict[str, Any]]] = [(f"face {int(faces.rows[entry])}", {"fontweight": "bold"})]
    if label >= 0:
        lines.append((faces.classes[label], {"color": BLUE}))
    lines.append((f"predicted {explanation.classes[int(explanation.predictions[entry])]}", faint))
    agreement = float(result.agreement[entry])
    if agreement == agreement:
        lines.append((f"labels agree: {format_number(100 * agreement, '.0f')} %", faint))
    return lines


def _nearest_caption(explanation: Explanation, entries: Sequence[int], named: Sequence[str]) -> str:
    result: NearestFaces = explanation.result
    agreement = result.agreement[list(entries)].nanmean()
    agreeing = (
        f" Of the neighbours {100 * float(agreement):.0f} % have the face's label." if agreement == agreement else ""
    )
    parts = "; ".join(f"face {int(explanation.faces.rows[entry])}: {result.rows[entry].tolist()}" for entry in entries)
    return (
        f"The {result.rows.shape[1]} faces nearest to each face at {' at '.join(named)} of {explanation.model} on "
        f"{explanation.dataset}, by {result.metric} distance.{agreeing} Rows: {parts}."
    )
