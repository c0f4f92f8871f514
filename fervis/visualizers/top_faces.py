"""The faces that excite each filter most, one row per filter, each with the region that its output depends on.

The solid box is the region that the filter's highest output depends on most, the dashed one its receptive field, drawn
where that is not the whole face. All lengths are in inches.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from matplotlib.patches import Rectangle
from matplotlib.patheffects import Normal, Stroke

from fervis.core.intervals import format_number
from fervis.core.results import Explanation, Figure, TopActivations
from fervis.system.progress import progress
from fervis.visualizers.figures import canvas
from fervis.visualizers.figures.canvas import Sheet
from fervis.visualizers.figures.color import to_rgb
from fervis.visualizers.figures.figure_writer import Dpi, FigureWriter
from fervis.visualizers.figures.style import FAINT_COLOR, MARGIN, TEXT_WIDTH

TALLEST_SHEET = 9.0  # the most that a page leaves for a figure
TOP_SIDE = 0.85  # the column of the filters' names
TOP_HEADING = 0.36
TOP_LABEL = 0.1  # under a face
TOP_GAP = 0.06
TOP_COLUMNS = 9  # faces per line
PAGE_LINES = 16  # lines of faces per sheet
AMBER = "#FFB000"


@dataclass
class TopFacesSheet:
    """Draws the strongest faces.

    Attributes:
        dpi: dots per inch.
        marks: draw the region of the highest output into each face.
    """

    dpi: Dpi = 300
    marks: bool = True
    kind: ClassVar[str] = TopActivations.kind

    def draw(self, explanation: Explanation, folder: Path) -> list[Figure]:
        """Write ``<layer>.png`` per layer, or ``<layer>_1.png`` and on where its filters fill several sheets.

        A filter's faces at several checkpoints stand under each other.
        """
        result = _top_activations(explanation)
        with FigureWriter(folder, self.dpi) as writer:
            for layer in dict.fromkeys(explanation.layers):
                filters: dict[str, list[int]] = {}
                for entry, (own, target) in enumerate(zip(explanation.layers, explanation.targets, strict=True)):
                    if own == layer:
                        filters.setdefault(target, []).append(entry)
                lines = -(-result.rows.shape[1] // TOP_COLUMNS) * max(map(len, filters.values()))
                many = max(1, PAGE_LINES // lines)
                blocks = list(filters.values())
                pages = [blocks[start : start + many] for start in range(0, len(blocks), many)]
                for number, page in enumerate(progress(pages, f"drawing {layer}", "sheet"), 1):
                    entries = [entry for block in page for entry in block]
                    part = [f"{number:0{len(str(len(pages)))}d}"] if len(pages) > 1 else []
                    sheet, caption = self.sheet(explanation, entries), _top_caption(explanation, entries)
                    writer.save(sheet, writer.name(layer, *part), caption)
        return writer.figures

    def sheet(self, explanation: Explanation, entries: Sequence[int]) -> Sheet:
        """Draw filters of one layer, each with its faces in lines of nine."""
        result = _top_activations(explanation)
        top = result.rows.shape[1]
        columns, lines = min(top, TOP_COLUMNS), -(-top // TOP_COLUMNS)
        down = lines * len(entries)
        pitch = (TEXT_WIDTH - MARGIN - TOP_SIDE) / TOP_COLUMNS
        side = min(pitch - TOP_GAP, max(0.38, (TALLEST_SHEET - TOP_HEADING) / down - TOP_LABEL - TOP_GAP))
        step = side + TOP_LABEL + TOP_GAP
        width = max(MARGIN + TOP_SIDE + columns * pitch, 4.6)
        sheet = canvas.new_figure(width, TOP_HEADING + down * step + 0.02, self.dpi)

        layer = explanation.layers[entries[0]]
        title = f"Faces that excite {layer} most · {explanation.model} on {explanation.dataset}"
        canvas.add_heading(sheet, title)
        canvas.add_text(
            sheet,
            MARGIN,
            0.185,
            self._note(result, entries),
            room=width - 2 * MARGIN,
            size=6.5,
            color=FAINT_COLOR,
        )
        for index, entry in enumerate(entries):
            y = TOP_HEADING + index * lines * step
            for line, (text, style) in enumerate(_class_names(explanation, entry)):
                canvas.add_text(sheet, MARGIN, y + 0.115 * line, text, room=TOP_SIDE - 0.08, size=6.5, **style)
            for number in range(top):
                x = MARGIN + TOP_SIDE + number % TOP_COLUMNS * pitch
                over = y + number // TOP_COLUMNS * step
                canvas.add_image(sheet, x, over, side, to_rgb(result.images[entry, number]))
                if self.marks:
                    self._mark(sheet, result, entry, number, (x, over, side))
                note = f"{format_number(float(result.values[entry, number]))} · {int(result.rows[entry, number])}"
                canvas.add_text(
                    sheet, x + side / 2, over + side + 0.015, note, room=pitch - 0.05, size=5.5, ha="center"
                )
        return sheet

    def _mark(
        self, sheet: Sheet, result: TopActivations, entry: int, number: int, square: tuple[float, float, float]
    ) -> None:
        """Draw the boxes into a face that fills a square: left, top, side in inches."""
        height, width = result.images.shape[-2:]
        box, core = result.boxes[entry, number].tolist(), result.cores[entry, number].tolist()
        if box != [0, 0, height, width]:
            _outline(sheet, box, (height, width), square, linestyle=(0, (2, 1.2)), linewidth=0.5)
        _outline(sheet, core, (height, width), square, linewidth=0.7)

    def _note(self, result: TopActivations, entries: Sequence[int]) -> str:
        """Describe the numbers and the boxes."""
        numbers = "under each face its highest output · its row"
        if not self.marks:
            return numbers
        height, width = result.images.shape[-2:]
        whole = (result.boxes[list(entries)] == result.boxes.new_tensor([0, 0, height, width])).all(-1)
        seen = "" if whole.all() else "; dashed: its receptive field"
        rest = " (where no dashes are, the whole face)" if whole.any() and not whole.all() else ""
        seen = "; its receptive field is the whole face" if whole.all() else seen + rest
        return f"{numbers}; box: what that output depends on most{seen}"


def _outline(
    sheet: Sheet, box: list[int], size: tuple[int, int], square: tuple[float, float, float], **style: Any
) -> None:
    """Draw a box of pixels around a part of a face of ``size`` that fills a square at left, top and side."""
    (height, width), (left, top, side) = size, square
    across, down = sheet.get_size_inches()
    pixel = side / max(height, width)
    x = left + (side - width * pixel) / 2 + box[1] * pixel
    y = top + (side - height * pixel) / 2 + box[0] * pixel
    wide, tall = (box[3] - box[1]) * pixel, (box[2] - box[0]) * pixel
    frame = Rectangle(
        (x / across, 1 - (y + tall) / down), wide / across, tall / down, fill=False, edgecolor=AMBER, **style
    )
    if "linestyle" not in style:  # a dark rim, so that it is seen on bright skin too
        frame.set_path_effects([Stroke(linewidth=style["linewidth"] + 0.6, foreground="black"), Normal()])
    sheet.add_artist(frame)


def _top_activations(explanation: Explanation) -> TopActivations:
    assert isinstance(explanation.result, TopActivations)
    return explanation.result


def _commonest(explanation: Explanation, entry: int) -> str:
    """Return ``6 of 9 happy``, or nothing where no face is labelled; of equally common labels the first."""
    labels = _top_activations(explanation).labels[entry].tolist()
    known = Counter(label for label in labels if label >= 0)
    if not known:
        return ""
    label, count = min(known.items(), key=lambda item: (-item[1], item[0]))
    return f"{count} of {len(labels)} {explanation.faces.classes[label]}"


def _class_names(explanation: Explanation, entry: int) -> list[tuple[str, dict[str, Any]]]:
    """Return the lines at the left of a filter's faces."""
    dead = float(_top_activations(explanation).dead[entry])
    faint = {"color": FAINT_COLOR}
    lines: list[tuple[str, dict[str, Any]]] = [(explanation.targets[entry], {"fontweight": "bold"})]
    if explanation.several_checkpoints:
        lines.append((f"checkpoint {explanation.checkpoints[entry]}", {}))
    if common := _commonest(explanation, entry):
        lines.append((common, faint))
    lines.append((f"dead at {dead:.1%}", faint))
    return lines


def _top_caption(explanation: Explanation, entries: Sequence[int]) -> str:
    result, layer = _top_activations(explanation), explanation.layers[entries[0]]
    filters = []
    for entry in entries:
        named = f" at checkpoint {explanation.checkpoints[entry]}" if explanation.several_checkpoints else ""
        common = _commonest(explanation, entry)
        filters.append(
            f"{explanation.targets[entry]}{named}: {format_number(float(result.values[entry, 0]))} at face "
            f"{int(result.rows[entry, 0])}" + (f", {common}" if common else "")
        )
    return (
        f"The {result.rows.shape[1]} faces of {explanation.dataset} that excite each filter of {layer} of "
        f"{explanation.model} most, the strongest first, with the region of the highest output. {'; '.join(filters)}."
    )
