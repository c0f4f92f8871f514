"""Filter and class images: all of them on one sheet, the values they reached, and how they change with depth.

Images are drawn as they are, black for 0 and white for 1, so that a faint image looks faint. Several checkpoints stand
side by side, on the same scales. All lengths are in inches.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fervis.core.intervals import format_number
from fervis.core.results import Explanation, Figure, FilterImages
from fervis.metrics.representation.image_symmetry import SymmetricPairs
from fervis.system.progress import progress
from fervis.visualizers.figures import canvas
from fervis.visualizers.figures.canvas import Sheet
from fervis.visualizers.figures.color import to_rgb
from fervis.visualizers.figures.dot_panels import DOT_KEYS, DotPanel, draw_dot_panels
from fervis.visualizers.figures.figure_writer import Dpi, FigureWriter, MapScale
from fervis.visualizers.figures.image_grid import (
    GRID_BAND,
    GRID_NAME,
    GRID_TOP,
    ImageBlocks,
    ImageGrid,
    ImageRowBlock,
)
from fervis.visualizers.figures.image_symmetry import draw_symmetric_pairs
from fervis.visualizers.figures.line_panels import draw_trends, layer_series, series_note
from fervis.visualizers.figures.style import FAINT_COLOR, MARGIN, TEXT_WIDTH

TREND_NUMBERS = {
    "strength": "strength (sd of pixels, 0 to 0.5)",
    "frequency": "frequency (cycles per pixel)",
    "beyond_faces": "part beyond the strongest face",
}
CAPTIONED_IMAGES = 64  # whose values stand in the caption of a page


@dataclass
class FilterImagesFigure:
    """Draws images computed by activation maximization.

    Attributes:
        dpi: dots per inch.
        scale: ``shared`` (0 is black and 1 white) or ``own`` (each image from its least to its largest value).
    """

    dpi: Dpi = 300
    scale: MapScale = "shared"
    kind: ClassVar[str] = FilterImages.kind

    def draw(self, explanation: Explanation, folder: Path) -> list[Figure]:
        """Write ``overview.png``, ``reached.png``, ``trend.png`` (several layers) and ``twins_<layer>.png``.

        Further pages are ``overview_2.png`` and on. Twins, flipped and turned copies of other images, are drawn where
        the explainer compared the images (``symmetry``).
        """
        blocks = _image_blocks(explanation)
        with FigureWriter(folder, self.dpi) as writer:
            layout = ImageGrid.of(blocks)
            for page, rows in enumerate(progress(layout.pages(blocks), "drawing", "page"), 1):
                sheet, name = self.overview(explanation, blocks, layout, rows), _page_name("overview", page)
                writer.save(sheet, name, self._caption(explanation, blocks, rows))
            for page, (sheet, caption) in enumerate(_reached_panels(explanation, blocks, self.dpi), 1):
                writer.save(sheet, _page_name("reached", page), caption)
            if len(blocks) > 1 and explanation.means:
                writer.save(*_layer_trend(explanation, blocks, self.dpi))
            for layer, checkpoints in blocks.items() if _filter_images(explanation).pairs else ():
                for checkpoint, entries in checkpoints.items():
                    parts = [layer, *([checkpoint] if len(checkpoints) > 1 else [])]
                    if len(entries) > 1:
                        self._twins(writer, explanation, entries, parts)
        return writer.figures

    def _twins(self, writer: FigureWriter, explanation: Explanation, entries: list[int], parts: list[str]) -> None:
        result = _filter_images(explanation)
        images, names = result.images[entries], [explanation.targets[entry] for entry in entries]
        rows = {name: [values[entry] for entry in entries] for name, values in result.pairs.items()}
        pairs = SymmetricPairs.of_rows(rows, (images.shape[2], images.shape[3]))
        title = f"Twins among filter images of {' · '.join(parts)} · {explanation.model}"
        path = writer.folder / f"{writer.name('twins', *parts)}.png"
        writer.figures.append(draw_symmetric_pairs(images, names, pairs, path, title=title, dpi=self.dpi))

    def overview(
        self, explanation: Explanation, blocks: ImageBlocks, layout: ImageGrid, rows: list[ImageRowBlock]
    ) -> Sheet:
        """Draw a page of images: one band per layer, checkpoints side by side in it, each image under its name."""
        sheet = canvas.new_figure(TEXT_WIDTH, layout.height(rows) + 0.02, self.dpi)
        result = _filter_images(explanation)
        canvas.add_heading(sheet, _overview_title(explanation))
        scaled = "black is 0, white 1" if self.scale == "shared" else "each from its least (black) to its most (white)"
        under = f"; under each: {', '.join(DOT_KEYS)}" if layout.values else ""
        note = f"{result.unit}{under}; pixels: {scaled}"
        canvas.add_text(sheet, MARGIN, 0.19, note, room=TEXT_WIDTH - 2 * MARGIN, size=6.5, color=FAINT_COLOR)
        top, last = GRID_TOP - 0.1, ""
        for layer, first, end in rows:
            if layer != last:
                for place, (checkpoint, _) in enumerate(blocks[layer].items()):
                    names = [layer] if len(blocks) > 1 else []
                    names += [f"checkpoint {checkpoint}"] if len(blocks[layer]) > 1 else []
                    heading = " · ".join(names)
                    left = layout.left(place)
                    canvas.add_text(sheet, left, top + 0.07, heading, room=layout.room, size=7, fontweight="bold")
                top, last = top + (GRID_BAND if layout.headed else 0.0), layer
            for place, entries in enumerate(blocks[layer].values()):
                for column, entry in enumerate(entries[first:end]):
                    left = layout.left(place) + column * layout.pitch
                    self._image(sheet, explanation, entry, left, top, layout)
            top += layout.step
        return sheet

    def _image(
        self, sheet: Sheet, explanation: Explanation, entry: int, left: float, top: float, layout: ImageGrid
    ) -> None:
        result, side = _filter_images(explanation), layout.pitch - 0.05
        bold = "bold" if layout.values else "normal"
        canvas.add_text(sheet, left, top, _image_name(explanation, entry), room=side, size=6.0, fontweight=bold)
        canvas.add_image(sheet, left, top + GRID_NAME, side, self.pixels(result.images[entry]))
        aligned = zip((0.0, 0.5, 1.0), ("left", "center", "right"), DOT_KEYS.values(), strict=True)
        for share, way, name in aligned if layout.values else ():
            text = f"{float(getattr(result, name)[entry]):.2f}".replace("-", "\N{MINUS SIGN}")
            place = left + share * side
            canvas.add_text(sheet, place, top + GRID_NAME + side + 0.02, text, room=side / 3 - 0.01, size=5.5, ha=way)

    def pixels(self, image: Tensor) -> NDArray[np.uint8]:
        """Convert a [C,H,W] image in [0, 1] to [H,W,3] bytes, on the figure's scale."""
        image = image.double()
        if self.scale == "own":
            span = float(image.max() - image.min())
            image = (image - image.min()) / span if span else image
        return to_rgb((255 * image).round().to(torch.uint8))

    def _caption(self, explanation: Explanation, blocks: ImageBlocks, rows: list[ImageRowBlock]) -> str:
        page = [
            entry for layer, first, end in rows for entries in blocks[layer].values() for entry in entries[first:end]
        ]
        values = "; ".join(_value_text(explanation, entry) for entry in page[:CAPTIONED_IMAGES])
        more = f"; and {len(page) - CAPTIONED_IMAGES} more" if len(page) > CAPTIONED_IMAGES else ""
        return (
            f"{_overview_title(explanation)}. Each image was optimised to raise the "
            f"{_filter_images(explanation).unit}; value reached, at noise, at the strongest face: {values}{more}."
        )


def _page_name(name: str, page: int) -> str:
    return name if page == 1 else f"{name}_{page}"


def _filter_images(explanation: Explanation) -> FilterImages:
    assert isinstance(explanation.result, FilterImages)
    return explanation.result


def _image_blocks(explanation: Explanation) -> ImageBlocks:
    """Return the entries by layer, then by checkpoint."""
    blocks: ImageBlocks = {}
    for (layer, checkpoint), entries in explanation.entries_by_layer().items():
        blocks.setdefault(layer, {})[checkpoint] = entries
    return blocks


def _image_name(explanation: Explanation, entry: int) -> str:
    """Return a filter's number, or a class."""
    return explanation.targets[entry].removeprefix(f"{explanation.layers[entry]}/")


def _overview_title(explanation: Explanation) -> str:
    layers = list(dict.fromkeys(explanation.layers))
    what = "Class images" if layers == ["network"] else f"Filter images of {', '.join(layers)}"
    return f"{what} · {explanation.model} on {explanation.dataset}"


def _value_text(explanation: Explanation, entry: int) -> str:
    result = _filter_images(explanation)
    values = (format_number(float(getattr(result, name)[entry])) for name in DOT_KEYS.values())
    at = f" at checkpoint {explanation.checkpoints[entry]}" if explanation.several_checkpoints else ""
    return f"{explanation.targets[entry]}{at} {', '.join(values)}"


def _reached_panels(explanation: Explanation, blocks: ImageBlocks, dpi: int) -> list[tuple[Sheet, str]]:
    """Draw the values reached on sheets of six rows of panels each, with their captions."""
    result = _filter_images(explanation)
    across = max(map(len, blocks.values()))
    panels: list[list[DotPanel]] = []
    for layer, checkpoints in blocks.items():
        row = []
        for checkpoint, entries in checkpoints.items():
            names = [layer] if layer != "network" else []
            names += [f"checkpoint {checkpoint}"] if len(checkpoints) > 1 else []
            values = {name: getattr(result, field)[entries].double().numpy() for name, field in DOT_KEYS.items()}
            row.append(DotPanel(" · ".join(names), tuple(_image_name(explanation, entry) for entry in entries), values))
        # Layers of one checkpoint stand two in a row.
        if across == 1 and len(blocks) > 1 and panels and len(panels[-1]) == 1:
            panels[-1] += row
        else:
            panels.append(row)
    title = f"{_overview_title(explanation)}: values reached"
    sheets = []
    for first in range(0, len(panels), 6):
        rows = panels[first : first + 6]
        sheet = draw_dot_panels(rows, title=title, unit=result.unit, shared=across > 1, dpi=dpi)
        sheets.append((sheet, f"{title}. {' '.join(panel.sentence() for row in rows for panel in row)}"))
    return sheets


def _layer_trend(explanation: Explanation, blocks: ImageBlocks, dpi: int) -> tuple[Sheet, str, str]:
    """Draw the means over filters by layer with their intervals: sheet, name, caption."""
    layers, trends = list(blocks), layer_series(explanation, TREND_NUMBERS)
    title = f"Filter images by layer · {explanation.model} on {explanation.dataset}"
    note = f"mean over up to {explanation.means_over} filters per layer with its 95 % bootstrap interval"
    checkpoints = list(dict.fromkeys(explanation.checkpoints)) or [""]
    note = "; ".join(part for part in (note, series_note(checkpoints)) if part)
    sentences = [sentence for trend in trends for sentence in trend.sentences(layers)]
    sheet = draw_trends(trends, layers, title=title, note=note, dpi=dpi)
    return sheet, "trend", f"{title}, {note}. {'; '.join(sentences)}."
