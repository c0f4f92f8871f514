"""The faces that excite each filter most, a row a filter, each with the place where the filter answers.

The solid box is where the filter's highest output looks most, the dashed one all that it can see, drawn where that is
not the whole face. All lengths are in inches.
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
from fervis.errors import ConfigError
from fervis.system.progress import progress
from fervis.visualizers.figures import canvas
from fervis.visualizers.figures.canvas import FAINT_COLOR, Sheet
from fervis.visualizers.figures.color import to_rgb

TOP_WIDTH = 6.5  # the text width of a paper
TALLEST_SHEET = 9.0  # the most that a page leaves for a figure
TOP_MARGIN = 0.04
TOP_SIDE = 0.85  # the column of the filters' names
TOP_HEADING = 0.36
TOP_LABEL = 0.1  # under a face
TOP_GAP = 0.06
TOP_COLUMNS = 9  # faces a line
CAPTION_LINES = 16  # of faces a sheet
AMBER = "#FFB000"


@dataclass
class TopFacesSheet:
    """Draws the strongest faces.

    Attributes:
        dpi: dots an inch.
        marks: draw the place of the highest output into each face.
    """

    dpi: int = 300
    marks: bool = True
    kind: ClassVar[str] = TopActivations.kind

    def __post_init__(self) -> None:
        if not 30 <= self.dpi <= 1200:
            raise ConfigError(f"visualizer.dpi={self.dpi}: expected a number from 30 to 1200.")

    def draw(self, explanation: Explanation, folder: Path) -> list[Figure]:
        """Write ``<layer>.png`` a layer, or ``<layer>_1.png`` and on where its filters fill several sheets.

        A filter's faces at several checkpoints stand under each other.
        """
        result = _top_activations(explanation)
        figures: list[Figure] = []
        used: set[str] = set()
        with canvas.plain_style():
            for layer in dict.fromkeys(explanation.layers):
                filters: dict[str, list[int]] = {}
                for entry, (place, target) in enumerate(zip(explanation.layers, explanation.targets, strict=True)):
                    if place == layer:
                        filters.setdefault(target, []).append(entry)
                lines = -(-result.rows.shape[1] // TOP_COLUMNS) * max(map(len, filters.values()))
                many = max(1, CAPTION_LINES // lines)
                blocks = list(filters.values())
                pages = [blocks[start : start + many] for start in range(0, len(blocks), many)]
                for number, page in enumerate(progress(pages, f"drawing {layer}", "sheet"), 1):
                    some = [entry for block in page for entry in block]
                    part = [f"{number:0{len(str(len(pages)))}d}"] if len(pages) > 1 else []
                    path = folder / f"{canvas.file_name(layer, *part, used=used)}.png"
                    canvas.save_figure(self.sheet(explanation, some), path, self.dpi)
                    figures.append(Figure(path, _top_caption(explanation, some)))
        return figures

    def sheet(self, explanation: Explanation, entries: Sequence[int]) -> Sheet:
        """Some filters of one layer, each with its faces in lines of nine."""
        result = _top_activations(explanation)
        top = result.rows.shape[1]
        columns, lines = min(top, TOP_COLUMNS), -(-top // TOP_COLUMNS)
        down = lines * len(entries)
        pitch = (TOP_WIDTH - TOP_MARGIN - TOP_SIDE) / TOP_COLUMNS
        side = min(pitch - TOP_GAP, max(0.38, (TALLEST_SHEET - TOP_HEADING) / down - TOP_LABEL - TOP_GAP))
        step = side + TOP_LABEL + TOP_GAP
        width = max(TOP_MARGIN + TOP_SIDE + columns * pitch, 4.6)
        sheet = canvas.new_figure(width, TOP_HEADING + down * step + 0.02, self.dpi)

        layer = explanation.layers[entries[0]]
        title = f"Faces that excite {layer} most · {explanation.model} on {explanation.dataset}"
        canvas.add_text(sheet, TOP_MARGIN, 0.03, title, room=width - 2 * TOP_MARGIN, size=8.5, fontweight="bold")
        canvas.add_text(
            sheet,
            TOP_MARGIN,
            0.185,
            self._note(result, entries),
            room=width - 2 * TOP_MARGIN,
            size=6.5,
            color=FAINT_COLOR,
        )
        for place, entry in enumerate(entries):
            y = TOP_HEADING + place * lines * step
            for line, (text, looks) in enumerate(_class_names(explanation, entry)):
                canvas.add_text(sheet, TOP_MARGIN, y + 0.115 * line, text, room=TOP_SIDE - 0.08, size=6.5, **looks)
            for number in range(top):
                x = TOP_MARGIN + TOP_SIDE + number % TOP_COLUMNS * pitch
                over = y + number // TOP_COLUMNS * step
                canvas.add_image(sheet, x, over, side, to_rgb(result.images[entry, number]))
                if self.marks:
                    self._mark(sheet, result, entry, number, (x, over, side))
                said = f"{format_number(float(result.values[entry, number]))} · {int(result.rows[entry, number])}"
                canvas.add_text(
                    sheet, x + side / 2, over + side + 0.015, said, room=pitch - 0.05, size=5.5, ha="center"
                )
        return sheet

    def _mark(
        self, sheet: Sheet, result: TopActivations, entry: int, number: int, place: tuple[float, float, float]
    ) -> None:
        """The boxes in a face that is drawn at these inches: left, top, side."""
        height, width = result.images.shape[-2:]
        box, core = result.boxes[entry, number].tolist(), result.cores[entry, number].tolist()
        if box != [0, 0, height, width]:
            _outline(sheet, box, (height, width), place, linestyle=(0, (2, 1.2)), linewidth=0.5)
        _outline(sheet, core, (height, width), place, linewidth=0.7)

    def _note(self, result: TopActivations, entries: Sequence[int]) -> str:
        """What the numbers and the boxes are."""
        numbers = "under each face its highest output · its row"
        if not self.marks:
            return numbers
        height, width = result.images.shape[-2:]
        whole = (result.boxes[list(entries)] == result.boxes.new_tensor([0, 0, height, width])).all(-1)
        seen = "" if whole.all() else "; dashed: all it can see"
        rest = " (where no dashes are, the whole face)" if whole.any() and not whole.all() else ""
        seen = "; it can see the whole face" if whole.all() else seen + rest
        return f"{numbers}; box: where that output looks most{seen}"


def _outline(
    sheet: Sheet, box: list[int], size: tuple[int, int], place: tuple[float, float, float], **looks: Any
) -> None:
    """A box of pixels around a part of a face of ``size`` drawn in a square at left, top and side."""
    (height, width), (left, top, side) = size, place
    across, down = sheet.get_size_inches()
    pixel = side / max(height, width)
    x = left + (side - width * pixel) / 2 + box[1] * pixel
    y = top + (side - height * pixel) / 2 + box[0] * pixel
    wide, tall = (box[3] - box[1]) * pixel, (box[2] - box[0]) * pixel
    frame = Rectangle(
        (x / across, 1 - (y + tall) / down), wide / across, tall / down, fill=False, edgecolor=AMBER, **looks
    )
    if "linestyle" not in looks:  # a dark rim, so that it is seen on bright skin too
        frame.set_path_effects([Stroke(linewidth=looks["linewidth"] + 0.6, foreground="black"), Normal()])
    sheet.add_artist(frame)


def _top_activations(explanation: Explanation) -> TopActivations:
    assert isinstance(explanation.result, TopActivations)
    return explanation.result


def _commonest(explanation: Explanation, entry: int) -> str:
    """``6 of 9 happy``, or nothing where no face is labelled; of equally common labels the first."""
    labels = _top_activations(explanation).labels[entry].tolist()
    known = Counter(label for label in labels if label >= 0)
    if not known:
        return ""
    label, count = min(known.items(), key=lambda item: (-item[1], item[0]))
    return f"{count} of {len(labels)} {explanation.faces.classes[label]}"


def _class_names(explanation: Explanation, entry: int) -> list[tuple[str, dict[str, Any]]]:
    """The lines beside a filter's faces."""
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
    told = []
    for entry in entries:
        named = f" at checkpoint {explanation.checkpoints[entry]}" if explanation.several_checkpoints else ""
        common = _commonest(explanation, entry)
        told.append(
            f"{explanation.targets[entry]}{named}: {format_number(float(result.values[entry, 0]))} at face "
            f"{int(result.rows[entry, 0])}" + (f", {common}" if common else "")
        )
    return (
        f"The {result.rows.shape[1]} faces of {explanation.dataset} that excite each filter of {layer} of "
        f"{explanation.model} most, the strongest first, with the place of the highest output. {'; '.join(told)}."
    )
