"""Filter and class images: all of them on one sheet, what each reached, and how they change with depth.

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

from fervis.core.intervals import Interval, format_interval, format_number
from fervis.core.results import Explanation, Figure, FilterImages
from fervis.errors import ConfigError, nearest_name
from fervis.metrics.bootstrap import bootstrap_mean, resample_indices
from fervis.metrics.representation.image_symmetry import symmetric_pairs_of
from fervis.system.progress import progress
from fervis.visualizers.figures import canvas
from fervis.visualizers.figures.canvas import FAINT_COLOR, Sheet
from fervis.visualizers.figures.color import to_rgb
from fervis.visualizers.figures.dot_panels import DOT_KEYS, DotPanel, draw_dot_panels
from fervis.visualizers.figures.image_grid import (
    GRID_BAND,
    GRID_MARGIN,
    GRID_NAME,
    GRID_TOP,
    GRID_WIDTH,
    ImageBlocks,
    ImageGrid,
    ImageRowBlock,
)
from fervis.visualizers.figures.image_symmetry import draw_symmetric_pairs
from fervis.visualizers.figures.line_panels import LayerSeries, draw_trends, series_note

INTERVAL_SEED = 0  # of the resamples behind the intervals
TREND_NUMBERS = {"strength": "strength (sd of pixels, 0 to 0.5)", "frequency": "frequency (cycles a pixel)"}
TREND_NUMBERS |= {"beyond": "part beyond the strongest face"}


@dataclass
class FilterImagesFigure:
    """Draws images that were climbed.

    Attributes:
        dpi: dots an inch.
        scale: ``shared`` (0 is black and 1 white) or ``own`` (each image from its least to its largest value).
    """

    dpi: int = 300
    scale: str = "shared"
    kind: ClassVar[str] = FilterImages.kind

    def __post_init__(self) -> None:
        if self.scale not in ("own", "shared"):
            hint = nearest_name(self.scale, ("own", "shared"))
            raise ConfigError(f"visualizer.scale={self.scale}: expected own or shared.{hint}")
        if not 30 <= self.dpi <= 1200:
            raise ConfigError(f"visualizer.dpi={self.dpi}: expected a number from 30 to 1200.")

    def draw(self, explanation: Explanation, folder: Path) -> list[Figure]:
        """Write ``overview.png``, ``reached.png``, ``trend.png`` (several layers) and ``twins_<layer>.png``.

        Further pages are ``overview_2.png`` and on. Twins are drawn where the explainer has looked for them.
        """
        blocks = _image_blocks(explanation)
        figures: list[Figure] = []

        def keep(sheet: Sheet, name: str, caption: str) -> None:
            canvas.save_figure(sheet, folder / f"{name}.png", self.dpi)
            figures.append(Figure(folder / f"{name}.png", caption))

        with canvas.plain_style():
            layout = ImageGrid.of(blocks)
            for page, rows in enumerate(progress(layout.pages(blocks), "drawing", "page"), 1):
                name = "overview" if page == 1 else f"overview_{page}"
                keep(self.overview(explanation, blocks, layout, rows), name, self._caption(explanation, blocks, rows))
            for page, (sheet, caption) in enumerate(_reached_panels(explanation, blocks, self.dpi), 1):
                keep(sheet, "reached" if page == 1 else f"reached_{page}", caption)
            if len(blocks) > 1:
                keep(*_layer_trend(explanation, blocks, self.dpi))
        used: set[str] = set()
        for layer, checkpoints in blocks.items() if "twin" in _filter_images(explanation).numbers else ():
            for checkpoint, entries in checkpoints.items():
                parts = [layer, *([checkpoint] if len(checkpoints) > 1 else [])]
                path = folder / f"{canvas.file_name('twins', *parts, used=used)}.png"
                images, names = (
                    _filter_images(explanation).images[entries],
                    [explanation.targets[one] for one in entries],
                )
                if len(entries) > 1:
                    title = f"Twins among filter images of {' · '.join(parts)} · {explanation.model}"
                    figures.append(
                        draw_symmetric_pairs(images, names, symmetric_pairs_of(images), path, title=title, dpi=self.dpi)
                    )
        return figures

    def overview(
        self, explanation: Explanation, blocks: ImageBlocks, layout: ImageGrid, rows: list[ImageRowBlock]
    ) -> Sheet:
        """A page of images: a band a layer, checkpoints side by side in it, each image under its name."""
        sheet = canvas.new_figure(GRID_WIDTH, layout.height(rows) + 0.02, self.dpi)
        result = _filter_images(explanation)
        canvas.add_text(
            sheet,
            GRID_MARGIN,
            0.03,
            _overview_title(explanation),
            room=GRID_WIDTH - 2 * GRID_MARGIN,
            size=8.5,
            fontweight="bold",
        )
        scaled = "black is 0, white 1" if self.scale == "shared" else "each from its least (black) to its most (white)"
        under = f"; under each: {', '.join(DOT_KEYS)}" if layout.values else ""
        note = f"{result.unit}{under}; pixels: {scaled}"
        canvas.add_text(sheet, GRID_MARGIN, 0.19, note, room=GRID_WIDTH - 2 * GRID_MARGIN, size=6.5, color=FAINT_COLOR)
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
        """A [C,H,W] image in [0, 1] as [H,W,3] bytes, on the figure's scale."""
        image = image.double()
        if self.scale == "own":
            span = float(image.max() - image.min())
            image = (image - image.min()) / span if span else image
        return to_rgb((255 * image).round().to(torch.uint8))

    def _caption(self, explanation: Explanation, blocks: ImageBlocks, rows: list[ImageRowBlock]) -> str:
        shown = [
            entry for layer, first, end in rows for entries in blocks[layer].values() for entry in entries[first:end]
        ]
        told = "; ".join(_value_text(explanation, entry) for entry in shown[:64])
        more = f"; and {len(shown) - 64} more" if len(shown) > 64 else ""
        return (
            f"{_overview_title(explanation)}. Each image was climbed to raise the "
            f"{_filter_images(explanation).unit}; reached, beside noise and the strongest face: {told}{more}."
        )


def _filter_images(explanation: Explanation) -> FilterImages:
    assert isinstance(explanation.result, FilterImages)
    return explanation.result


def _image_blocks(explanation: Explanation) -> ImageBlocks:
    """Entries by layer, then by checkpoint."""
    blocks: ImageBlocks = {}
    names = explanation.checkpoints or ("",) * len(explanation.layers)
    for entry, (layer, checkpoint) in enumerate(zip(explanation.layers, names, strict=True)):
        blocks.setdefault(layer, {}).setdefault(checkpoint, []).append(entry)
    return blocks


def _image_name(explanation: Explanation, entry: int) -> str:
    """A filter's number, or a class."""
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
    """Sheets of what was reached, six rows of panels each, with their captions."""
    result = _filter_images(explanation)
    across = max(map(len, blocks.values()))
    panels: list[list[DotPanel]] = []
    for layer, checkpoints in blocks.items():
        row = []
        for checkpoint, entries in checkpoints.items():
            names = [layer] if layer != "network" else []
            names += [f"checkpoint {checkpoint}"] if len(checkpoints) > 1 else []
            values = {name: getattr(result, field)[entries].double().numpy() for name, field in DOT_KEYS.items()}
            row.append(DotPanel(" · ".join(names), tuple(_image_name(explanation, one) for one in entries), values))
        # Layers of one checkpoint stand two in a row.
        if across == 1 and len(blocks) > 1 and panels and len(panels[-1]) == 1:
            panels[-1] += row
        else:
            panels.append(row)
    title = f"{_overview_title(explanation)}: what they reached"
    sheets = []
    for first in range(0, len(panels), 6):
        rows = panels[first : first + 6]
        sheet = draw_dot_panels(rows, title=title, unit=result.unit, shared=across > 1, dpi=dpi)
        sheets.append((sheet, f"{title}. {' '.join(panel.sentence() for row in rows for panel in row)}"))
    return sheets


def _layer_trend(explanation: Explanation, blocks: ImageBlocks, dpi: int) -> tuple[Sheet, str, str]:
    """The images' numbers by layer, mean over filters with its 95 % bootstrap interval: sheet, name, caption."""
    result, layers = _filter_images(explanation), list(blocks)
    tables = result.numbers | {"beyond": (result.reached >= result.strongest).float()}
    checkpoints = list(dict.fromkeys(explanation.checkpoints)) or [""]
    trends = [
        LayerSeries(
            words, {one: [_bootstrap_mean(tables[key][blocks[layer][one]]) for layer in layers] for one in checkpoints}
        )
        for key, words in TREND_NUMBERS.items()
    ]
    most = max(len(entries) for block in blocks.values() for entries in block.values())
    title = f"Filter images by layer · {explanation.model} on {explanation.dataset}"
    note = f"mean over up to {most} filters a layer with its 95 % bootstrap interval"
    note = "; ".join(part for part in (note, series_note(checkpoints)) if part)
    told = [
        f"{trend.name}{f' at checkpoint {one}' * (len(checkpoints) > 1)}: "
        + ", ".join(
            f"{layer} {format_interval(value, missing='none')}" for layer, value in zip(layers, values, strict=True)
        )
        for trend in trends
        for one, values in trend.series.items()
    ]
    return draw_trends(trends, layers, title=title, note=note, dpi=dpi), "trend", f"{title}, {note}. {'; '.join(told)}."


def _bootstrap_mean(values: Tensor) -> Interval:
    if int(values.isfinite().sum()) < 2:
        return Interval(float(values.nanmean()))
    return bootstrap_mean(values, resample_indices(len(values), torch.Generator().manual_seed(INTERVAL_SEED)))
