"""Heat maps on faces: the face, the map with its colour bar and the overlay, for a paper's text width.

Colours are perceptually uniform and their brightness is monotone in the value (inferno for magnitudes, cividis about
0 for signed maps: Nuñez, Anderton and Renslow, PLOS ONE 2018), so that figures can be read in grey and by the
colour-blind. Every figure states what a value is and how it was scaled. All lengths are in inches.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray

from fervis.core.knobs import Range
from fervis.core.results import Explanation, Figure
from fervis.system.progress import progress
from fervis.visualizers.figures import canvas
from fervis.visualizers.figures.canvas import Sheet
from fervis.visualizers.figures.color import Colormap, colorize, overlay
from fervis.visualizers.figures.figure_writer import Dpi, FigureLimit, FigureWriter, MapScale
from fervis.visualizers.figures.heatmap_items import HeatmapItem, ScaledMap, TitleTemplate, heatmap_items
from fervis.visualizers.figures.style import FAINT_COLOR, MARGIN, TEXT_WIDTH, plain_style

ITEMS_PER_PAGE = 40  # entries on an overview
LEGEND_BAR = 1.2  # inches, the length of an overview's colour bar
Tile = tuple[str, str, NDArray[np.uint8]]  # its name, the range of its values, its pixels


@dataclass
class HeatMap:
    """Draws heat maps.

    Attributes:
        dpi: dots per inch.
        colormap: matplotlib's name of the colours of magnitudes.
        diverging: matplotlib's name of the colours of signed maps; the middle is 0.
        opacity: of the overlay where the map is strongest, in [0, 1]; it falls with the map to nothing.
        scale: ``own`` (each map its own scale) or ``shared`` (one scale for all maps of the run).
        clip: percentile of the values that gets the last colour, in [50, 100].
        title: of a single figure, such as ``Saliency map for class {label}, picture number {row}``; empty for the
            usual one. It may name each of ``TITLE_WORDS``.
        max_single: a run of more entries than this gets overviews only.
        overview: whether there are overviews. Without them a run of more than ``max_single`` entries has no figure, as
            suits the parts of a study of which numbers alone are read.
    """

    dpi: Dpi = 300
    colormap: Colormap = "inferno"
    diverging: Colormap = "cividis"
    opacity: Annotated[float, Range(0, 1)] = 0.85
    scale: MapScale = "own"
    clip: Annotated[float, Range(50, 100)] = 100.0
    title: Annotated[str, TitleTemplate()] = ""
    max_single: FigureLimit = 16
    overview: bool = True
    kind: ClassVar[str] = "heatmaps"

    def draw(self, explanation: Explanation, folder: Path) -> list[Figure]:
        """Write ``overview.png`` (more than one entry) and ``<row>_<target>_<layer>.png`` per entry into ``folder``.

        More than 40 entries make several overviews, ``overview_1.png`` and on. The overviews come first. Checkpoints
        are compared on one scale, for any ``scale``.

        Raises:
            RunError: a map has values that are not finite.
        """
        if explanation.several_checkpoints and self.scale != "shared":
            return replace(self, scale="shared").draw(explanation, folder)
        entries = heatmap_items(explanation, shared=self.scale == "shared", clip=self.clip)
        pages = _pages(entries) if len(entries) > 1 and self.overview else []
        with FigureWriter(folder, self.dpi) as writer:
            for page, blocks in enumerate(pages, 1):
                name = "overview" if len(pages) == 1 else f"overview_{page:0{len(str(len(pages)))}d}"
                writer.save(self.draw_overview(blocks), name, _overview_caption(blocks))
            for entry in progress(entries if len(entries) <= self.max_single else (), "drawing", "figure"):
                name = writer.name(entry.row, entry.target, entry.layer, *entry.checkpoint.split())
                writer.save(self.single(entry), name, entry.caption())
        return writer.figures

    def figure(self, explanation: Explanation, title: str = "") -> Sheet:
        """Return one figure, which is written nowhere: of the only entry, or the first page of the overview.

        Args:
            explanation: N entries.
            title: instead of the usual one.

        Raises:
            RunError: a map has values that are not finite.
        """
        with plain_style():
            entries = heatmap_items(explanation, shared=self.scale == "shared", clip=self.clip)
            if len(entries) == 1:
                return self.single(entries[0], title)
            return self.draw_overview(_pages(entries)[0], title)

    def single(self, entry: HeatmapItem, title: str = "") -> Sheet:
        """Draw one entry as wide as a paper's text: face, map, overlay and, if there is one, the map of the pixels."""
        gap, top = 0.12, 0.51
        panels = 2 + len(entry.maps)
        side = min(1.72, (TEXT_WIDTH - 2 * MARGIN - (panels - 1) * gap) / panels)
        lefts = [MARGIN + index * (side + gap) for index in range(panels)]
        width = lefts[-1] + side + MARGIN
        notes = [
            canvas.wrap_text(scaled.unit, room=side, size=6.0)
            + canvas.wrap_text(scaled.note, room=side, size=6.0, most=3)
            for scaled in entry.maps
        ]
        below = top + side + 0.05
        sheet = canvas.new_figure(width, below + 0.24 + 0.105 * max(map(len, notes)) + 0.03, self.dpi)

        canvas.add_heading(sheet, title or entry.titled(self.title))
        canvas.add_text(sheet, MARGIN, 0.185, entry.verdict, room=width - 2 * MARGIN - 1.7, size=7.5)
        source = " · ".join(name for name in (entry.model, entry.dataset) if name)
        canvas.add_text(sheet, width - MARGIN, 0.19, source, room=1.6, size=6.5, ha="right", color=FAINT_COLOR)
        for left, (name, _, pixels) in zip(lefts, self._tiles(entry), strict=True):
            canvas.add_text(sheet, left, top - 0.13, name, room=side, size=6.5, color=FAINT_COLOR)
            canvas.add_image(sheet, left, top, side, pixels)
        for left, scaled, lines in zip((lefts[1], lefts[-1]), entry.maps, notes, strict=False):
            canvas.colour_bar(sheet, left, below, side, self._colours(scaled), scaled.ticks)
            for line, text in enumerate(lines):
                canvas.add_text(sheet, left, below + 0.225 + 0.105 * line, text, room=side, size=6.0)
        covers = (
            "a constant map covers nothing" if self._flat(entry.maps[0]) else "the stronger the map, the more it covers"
        )
        canvas.add_text(sheet, lefts[2], below, covers, room=side, size=6.0, color=FAINT_COLOR)
        return sheet

    def draw_overview(self, blocks: list[list[HeatmapItem]], title: str = "") -> Sheet:
        """Draw entries on one sheet, one block per face: the face and its maps, in the same order in every block."""
        first = blocks[0][0]
        several = max(map(len, blocks)) > 1
        tiles = [self._row_of_maps(block) if several else self._tiles(block[0]) for block in blocks]
        columns = min(max(map(len, tiles)), 10)
        paired = 2 if columns <= 4 and len(blocks) > 2 else 1
        across = paired if several else 2 if len(blocks) <= 14 else 3 if len(blocks) <= 24 or columns > 3 else 4
        gap, between, own = 0.05, 0.16, self.scale == "own"
        room = (TEXT_WIDTH - 2 * MARGIN - (across - 1) * between) / across
        side = min(1.05, (room - (columns - 1) * gap) / columns)
        head = 0.19 if own else 0.10  # a tile's name, and its range where each has its own
        lines = max(1 + (len(row) - 2) // (columns - 1) for row in tiles)
        step_right, step_down = columns * (side + gap) - gap + between, 0.2 + lines * (head + side + 0.03)
        rows = -(-len(blocks) // across)
        width = max(across * step_right - between + 2 * MARGIN, 3.4)
        maps, foot = first.maps[:1] if several else first.maps, 0.26 + rows * step_down
        # The legend fills the rest of the last row, where there is one, instead of a strip at the foot.
        left_over = len(blocks) % across
        if self._legend_height(maps, step_right - between) > step_down - 0.13 - head:
            left_over = 0
        sheet = canvas.new_figure(width, foot + (0.02 if left_over else 0.34), self.dpi)

        layers = dict.fromkeys(entry.layer for block in blocks for entry in block)
        where = f" at {next(iter(layers))}" if len(layers) == 1 else ""
        subject = f" · {first.model} on {first.dataset}" if first.model else ""
        canvas.add_heading(sheet, title or f"{first.method}{where}{subject}")
        for index, (block, row) in enumerate(zip(blocks, tiles, strict=True)):
            left, top = MARGIN + index % across * step_right, 0.26 + index // across * step_down
            alone = "" if several or block[0].predicted else f" · {block[0].target}"
            canvas.add_text(sheet, left, top, block[0].short + alone, room=step_right - between, size=6.5)
            for count, (name, extent, pixels) in enumerate(row):
                line, column = divmod(count - 1, columns - 1) if count else (0, -1)
                x, y = left + (column + 1) * (side + gap), top + 0.13 + line * (head + side + 0.03)
                canvas.add_text(sheet, x, y, name, room=side, size=5.5, color=FAINT_COLOR)
                if own:
                    canvas.add_text(sheet, x, y + 0.09, extent, room=side, size=5.5, color=FAINT_COLOR)
                canvas.add_image(sheet, x, y + head, side, pixels)
        if left_over:
            top = foot - step_down + 0.13 + head
            self._legend_block(sheet, maps, MARGIN + left_over * step_right, top, step_right - between)
        else:
            self._legend(sheet, maps, foot + 0.02)
        return sheet

    def _tiles(self, entry: HeatmapItem) -> list[Tile]:
        main, *others = entry.maps
        opacity = 0.0 if self._flat(main) else self.opacity
        over = overlay(entry.face, main.values, main.scale, self._colours(main), opacity=opacity)
        name = f"map at {entry.layer}" if others else "map"
        tiles = [("face", "", entry.face), self._tile(name, main), ("overlay", "", over)]
        return tiles + [self._tile("map at the pixels", other) for other in others]

    def _flat(self, scaled: ScaledMap) -> bool:
        """Whether no pixel of a map can be stronger than another: it is constant, and compared with no other map."""
        return scaled.constant and self.scale == "own"

    def _row_of_maps(self, block: list[HeatmapItem]) -> list[Tile]:
        """Return the face and its maps, named by what differs between them."""
        kinds = [{getattr(entry, what) for entry in block} for what in ("layer", "target", "checkpoint")]
        tiles: list[Tile] = [("face", "", block[0].face)]
        for entry in block:
            words = (entry.layer, entry.target, entry.checkpoint)
            name = " · ".join(word for word, kind in zip(words, kinds, strict=True) if len(kind) > 1) or entry.layer
            if entry.checkpoint:
                name += f" → {entry.predicted} {entry.probability:.2f}{entry.mark[:2]}"
            tiles.append(self._tile(name, entry.maps[0]))
        return tiles

    def _tile(self, name: str, scaled: ScaledMap) -> Tile:
        return name, scaled.extent, colorize(scaled.values, scaled.scale, self._colours(scaled))

    def _legend(self, sheet: Sheet, maps: tuple[ScaledMap, ...], top: float) -> None:
        """Draw the colour bars at an overview's foot, one per kind of map, and what their colours mean."""
        half = (sheet.get_size_inches()[0] - 2 * MARGIN) / len(maps)
        for index, scaled in enumerate(maps):
            left = MARGIN + index * half
            canvas.colour_bar(sheet, left, top, LEGEND_BAR, self._colours(scaled), self._ends(scaled))
            room = half - LEGEND_BAR - 0.2
            for line, text in enumerate([*canvas.wrap_text(scaled.unit, room=room, size=6.0), self._note(scaled)]):
                canvas.add_text(sheet, left + LEGEND_BAR + 0.1, top - 0.02 + 0.105 * line, text, room=room, size=6.0)

    def _legend_block(self, sheet: Sheet, maps: tuple[ScaledMap, ...], left: float, top: float, room: float) -> None:
        """Draw the same below each other into a block of the overview."""
        for scaled in maps:
            canvas.colour_bar(sheet, left, top, min(LEGEND_BAR, room), self._colours(scaled), self._ends(scaled))
            for line, text in enumerate(self._legend_lines(scaled, room)):
                canvas.add_text(sheet, left, top + 0.225 + 0.105 * line, text, room=room, size=6.0)
            top += self._legend_height((scaled,), room)

    def _legend_lines(self, scaled: ScaledMap, room: float) -> list[str]:
        return [
            line for text in (scaled.unit, self._note(scaled)) for line in canvas.wrap_text(text, room=room, size=6.0)
        ]

    def _legend_height(self, maps: tuple[ScaledMap, ...], room: float) -> float:
        return sum(0.26 + 0.105 * len(self._legend_lines(scaled, room)) for scaled in maps)

    def _ends(self, scaled: ScaledMap) -> tuple[str, str, str]:
        """Return the labels of an overview's colour bar."""
        if self.scale == "shared":
            return scaled.ticks
        return ("\N{MINUS SIGN}largest", "0", "largest") if scaled.signed else ("0", "", "largest")

    def _note(self, scaled: ScaledMap) -> str:
        if self.scale == "shared":
            return scaled.note
        clipped = f"; last colour from percentile {self.clip:g} up" if self.clip < 100 else ""
        return f"each map its own scale; its range stands above it{clipped}"

    def _colours(self, scaled: ScaledMap) -> str:
        return self.diverging if scaled.signed else self.colormap


def _pages(entries: list[HeatmapItem]) -> list[list[list[HeatmapItem]]]:
    """Distribute entries over pages of at most 40, in blocks of one face, split only where it has more than a page."""
    faces: dict[int, list[HeatmapItem]] = {}
    for entry in entries:
        faces.setdefault(entry.row, []).append(entry)
    pages: list[list[list[HeatmapItem]]] = [[]]
    for face in faces.values():
        for start in range(0, len(face), ITEMS_PER_PAGE):
            block = face[start : start + ITEMS_PER_PAGE]
            if sum(map(len, pages[-1])) + len(block) > ITEMS_PER_PAGE:
                pages.append([])
            pages[-1].append(block)
    return pages


def _overview_caption(blocks: list[list[HeatmapItem]]) -> str:
    first = blocks[0][0]
    layers = dict.fromkeys(entry.layer for block in blocks for entry in block)
    judged = [block[0] for block in blocks if block[0].known]
    right = sum(entry.predicted == entry.label for entry in judged)
    verdict = f"; predicted as labelled: {right} of {len(judged)}" if judged else ""
    return (
        f"Overview of {first.method} at {', '.join(layers)} for {first.model} on {first.dataset}. "
        f"Maps: {sum(map(len, blocks))}; faces: {len(blocks)}{verdict}."
    )
