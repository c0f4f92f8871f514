"""Heat maps on faces: the face, the map with its colour bar and the overlay, for a paper's text width.

Colours are perceptually uniform and their brightness is monotone in the value (inferno for magnitudes, cividis about
0 for signed maps: Nuñez, Anderton and Renslow, PLOS ONE 2018), so that figures can be read in grey and by the
colour-blind. Every figure says what a value is and how it was scaled. All lengths are in inches.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fervis.core.results import Explanation, Figure
from fervis.errors import ConfigError, nearest_name
from fervis.system.progress import progress
from fervis.visualizers.figures import canvas
from fervis.visualizers.figures.canvas import FAINT_COLOR, Sheet
from fervis.visualizers.figures.color import colorize, known_colormap, overlay
from fervis.visualizers.figures.heatmap_items import TITLE_WORDS, HeatmapItem, ScaledMap, heatmap_items

OVERVIEW_WIDTH = 6.5  # the text width of a paper
OVERVIEW_MARGIN = 0.04
ITEMS_PER_PAGE = 40  # entries on an overview
Tile = tuple[str, str, NDArray[np.uint8]]  # its name, the range of its values, its pixels


@dataclass
class HeatMap:
    """Draws heat maps.

    Attributes:
        dpi: dots an inch.
        colormap: matplotlib's name of the colours of magnitudes.
        diverging: matplotlib's name of the colours of signed maps; the middle is 0.
        opacity: of the overlay where the map is strongest, in [0, 1]; it falls with the map to nothing.
        scale: ``own`` (each map its own range) or ``shared`` (one range for all maps of the answer).
        clip: percentile of the values that gets the last colour, in [50, 100].
        title: of a single figure, such as ``Saliency map for feature {label}, picture number {row}``; empty for the
            usual one. It may name each of ``TITLE_WORDS``.
        max_single: an answer of more entries than this gets overviews only.
    """

    dpi: int = 300
    colormap: str = "inferno"
    diverging: str = "cividis"
    opacity: float = 0.85
    scale: str = "own"
    clip: float = 100.0
    title: str = ""
    max_single: int = 16
    kind: ClassVar[str] = "heatmaps"

    def __post_init__(self) -> None:
        known_colormap("visualizer.colormap", self.colormap)
        known_colormap("visualizer.diverging", self.diverging)
        if self.scale not in ("own", "shared"):
            hint = nearest_name(self.scale, ("own", "shared"))
            raise ConfigError(f"visualizer.scale={self.scale}: expected own or shared.{hint}")
        try:
            self.title.format(**dict.fromkeys(TITLE_WORDS, ""))
        except (KeyError, IndexError, ValueError) as error:
            known = ", ".join(f"{{{word}}}" for word in TITLE_WORDS)
            raise ConfigError(f"visualizer.title={self.title}: expected text that names some of {known}.") from error
        for name, low, high in (("dpi", 30, 1200), ("opacity", 0, 1), ("clip", 50, 100), ("max_single", 0, 1000)):
            if not low <= getattr(self, name) <= high:
                raise ConfigError(f"visualizer.{name}={getattr(self, name)}: expected a number from {low} to {high}.")

    def draw(self, explanation: Explanation, folder: Path) -> list[Figure]:
        """Write ``overview.png`` (more than one entry) and ``<row>_<target>_<layer>.png`` an entry into ``folder``.

        More than 40 entries make several overviews, ``overview_1.png`` and on. The overviews come first. Checkpoints
        are compared on one scale, whatever ``scale`` says.

        Raises:
            RunError: a map has values that are not finite.
        """
        if explanation.several_checkpoints and self.scale != "shared":
            return replace(self, scale="shared").draw(explanation, folder)
        entries = heatmap_items(explanation, shared=self.scale == "shared", clip=self.clip)
        figures: list[Figure] = []

        def keep(sheet: Sheet, name: str, caption: str) -> None:
            canvas.save_figure(sheet, folder / f"{name}.png", self.dpi)
            figures.append(Figure(folder / f"{name}.png", caption))

        with canvas.plain_style():
            pages = _pages(entries) if len(entries) > 1 else []
            for page, blocks in enumerate(pages, 1):
                name = "overview" if len(pages) == 1 else f"overview_{page:0{len(str(len(pages)))}d}"
                keep(self.overview(blocks), name, _overview_caption(blocks))
            used: set[str] = set()
            for entry in progress(entries if len(entries) <= self.max_single else (), "drawing", "figure"):
                name = canvas.file_name(entry.row, entry.target, entry.layer, *entry.checkpoint.split(), used=used)
                keep(self.single(entry), name, entry.caption())
        return figures

    def single(self, entry: HeatmapItem) -> Sheet:
        """One entry as wide as a paper's text: face, map, overlay and, where there is one, the map of the pixels."""
        gap, top = 0.12, 0.51
        panels = 2 + len(entry.maps)
        side = min(1.72, (OVERVIEW_WIDTH - 2 * OVERVIEW_MARGIN - (panels - 1) * gap) / panels)
        lefts = [OVERVIEW_MARGIN + place * (side + gap) for place in range(panels)]
        width = lefts[-1] + side + OVERVIEW_MARGIN
        units = [canvas.wrap_text(shown.unit, room=side, size=6.0) for shown in entry.maps]
        notes = [canvas.wrap_text(shown.note, room=side, size=6.0) for shown in entry.maps]
        below = top + side + 0.05
        deepest = max(len(unit) + len(note) for unit, note in zip(units, notes, strict=True))
        sheet = canvas.new_figure(width, below + 0.24 + 0.105 * deepest + 0.03, self.dpi)

        room = width - 2 * OVERVIEW_MARGIN
        canvas.add_text(sheet, OVERVIEW_MARGIN, 0.03, entry.titled(self.title), room=room, size=8.5, fontweight="bold")
        canvas.add_text(sheet, OVERVIEW_MARGIN, 0.185, entry.verdict, room=room - 1.7, size=7.5)
        source = f"{entry.model} · {entry.dataset}"
        canvas.add_text(sheet, width - OVERVIEW_MARGIN, 0.19, source, room=1.6, size=6.5, ha="right", color=FAINT_COLOR)
        for left, (name, _, pixels) in zip(lefts, self._tiles(entry), strict=True):
            canvas.add_text(sheet, left, top - 0.13, name, room=side, size=6.5, color=FAINT_COLOR)
            canvas.add_image(sheet, left, top, side, pixels)
        for left, shown, unit, note in zip((lefts[1], lefts[-1]), entry.maps, units, notes, strict=False):
            canvas.colour_bar(sheet, left, below, side, self._colours(shown), shown.ticks)
            for line, text in enumerate(unit + note):
                canvas.add_text(sheet, left, below + 0.225 + 0.105 * line, text, room=side, size=6.0)
        canvas.add_text(
            sheet, lefts[2], below, "the stronger the map, the more it covers", room=side, size=6.0, color=FAINT_COLOR
        )
        return sheet

    def overview(self, blocks: list[list[HeatmapItem]]) -> Sheet:
        """Entries of one answer on one sheet, a block a face: its maps beside it, in the same order in every block."""
        first = blocks[0][0]
        several = max(map(len, blocks)) > 1
        tiles = [self._row_of_maps(block) if several else self._tiles(block[0]) for block in blocks]
        columns = min(max(map(len, tiles)), 10)
        paired = 2 if columns <= 4 and len(blocks) > 2 else 1
        across = paired if several else 2 if len(blocks) <= 14 else 3 if len(blocks) <= 24 or columns > 3 else 4
        gap, between, own = 0.05, 0.16, self.scale == "own"
        room = (OVERVIEW_WIDTH - 2 * OVERVIEW_MARGIN - (across - 1) * between) / across
        side = min(1.05, (room - (columns - 1) * gap) / columns)
        head = 0.19 if own else 0.10  # a tile's name, and its range where each has its own
        lines = max(1 + (len(some) - 2) // (columns - 1) for some in tiles)
        step_right, step_down = columns * (side + gap) - gap + between, 0.2 + lines * (head + side + 0.03)
        rows = -(-len(blocks) // across)
        width = max(across * step_right - between + 2 * OVERVIEW_MARGIN, 3.4)
        sheet = canvas.new_figure(width, 0.26 + rows * step_down + 0.34, self.dpi)

        layers = dict.fromkeys(entry.layer for block in blocks for entry in block)
        place = f" at {next(iter(layers))}" if len(layers) == 1 else ""
        title = f"{first.method}{place} · {first.model} on {first.dataset}"
        canvas.add_text(
            sheet, OVERVIEW_MARGIN, 0.03, title, room=width - 2 * OVERVIEW_MARGIN, size=8.5, fontweight="bold"
        )
        for index, (block, some) in enumerate(zip(blocks, tiles, strict=True)):
            left, top = OVERVIEW_MARGIN + index % across * step_right, 0.26 + index // across * step_down
            canvas.add_text(sheet, left, top, block[0].short, room=step_right - between, size=6.5)
            for count, (name, extent, pixels) in enumerate(some):
                line, column = divmod(count - 1, columns - 1) if count else (0, -1)
                x, y = left + (column + 1) * (side + gap), top + 0.13 + line * (head + side + 0.03)
                canvas.add_text(sheet, x, y, name, room=side, size=5.5, color=FAINT_COLOR)
                if own:
                    canvas.add_text(sheet, x, y + 0.09, extent, room=side, size=5.5, color=FAINT_COLOR)
                canvas.add_image(sheet, x, y + head, side, pixels)
        self._legend(sheet, first.maps[:1] if several else first.maps, 0.26 + rows * step_down + 0.02)
        return sheet

    def _tiles(self, entry: HeatmapItem) -> list[Tile]:
        shown, *others = entry.maps
        over = overlay(entry.face, shown.values, shown.scale, self._colours(shown), opacity=self.opacity)
        name = f"map at {entry.layer}" if others else "map"
        tiles = [("face", "", entry.face), self._tile(name, shown), ("overlay", "", over)]
        return tiles + [self._tile("map at the pixels", other) for other in others]

    def _row_of_maps(self, block: list[HeatmapItem]) -> list[Tile]:
        """The face and its maps, named by what tells them apart."""
        kinds = [{getattr(entry, what) for entry in block} for what in ("layer", "target", "checkpoint")]
        tiles: list[Tile] = [("face", "", block[0].face)]
        for entry in block:
            words = (entry.layer, entry.target, entry.checkpoint)
            name = " · ".join(word for word, kind in zip(words, kinds, strict=True) if len(kind) > 1) or entry.layer
            if entry.checkpoint:
                name += f" → {entry.predicted} {entry.probability:.2f}{entry.mark[:2]}"
            tiles.append(self._tile(name, entry.maps[0]))
        return tiles

    def _tile(self, name: str, shown: ScaledMap) -> Tile:
        return name, shown.extent, colorize(shown.values, shown.scale, self._colours(shown))

    def _legend(self, sheet: Sheet, maps: tuple[ScaledMap, ...], top: float) -> None:
        """The colour bars at an overview's foot, one a kind of map, and what their colours mean."""
        bar, own = 1.2, self.scale == "own"
        half = (sheet.get_size_inches()[0] - 2 * OVERVIEW_MARGIN) / len(maps)
        for place, shown in enumerate(maps):
            left = OVERVIEW_MARGIN + place * half
            ends = ("least", "0" if shown.signed else "", "most") if own else shown.ticks
            canvas.colour_bar(sheet, left, top, bar, self._colours(shown), ends)
            note, room = "each its own range, given above" if own else shown.note, half - bar - 0.2
            for line, text in enumerate([*canvas.wrap_text(shown.unit, room=room, size=6.0), note]):
                canvas.add_text(sheet, left + bar + 0.1, top - 0.02 + 0.105 * line, text, room=room, size=6.0)

    def _colours(self, shown: ScaledMap) -> str:
        return self.diverging if shown.signed else self.colormap


def _pages(entries: list[HeatmapItem]) -> list[list[list[HeatmapItem]]]:
    """Pages of at most 40 entries, in blocks of one face, which is split only where it has more than a page."""
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
    return (
        f"Overview of {first.method} at {', '.join(layers)} for {first.model} on {first.dataset}. "
        f"Maps: {sum(map(len, blocks))}; faces: {len(blocks)}; predicted as labelled: {right} of {len(judged)}."
    )
