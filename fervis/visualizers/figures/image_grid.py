"""The layout of many small images on sheets of a paper's text width: one band per layer, checkpoints side by side.

All lengths are in inches.
"""

from __future__ import annotations

from dataclasses import dataclass

from fervis.visualizers.figures.style import MARGIN, TEXT_WIDTH

GRID_GAP = 0.16  # two checkpoints
GRID_TOP = 0.46
TALLEST_PAGE = 8.6  # of a page
GRID_BAND = 0.21  # over the images of a layer, for its name
GRID_NAME = 0.11  # over an image
GRID_VALUES = 0.14  # under an image, for what it reached
READABLE_CELL = 0.7  # an image this wide has room for its values
LARGEST_CELL = 1.3

ImageBlocks = dict[str, dict[str, list[int]]]
"""Entries by layer, then by checkpoint."""

ImageRowBlock = tuple[str, int, int]
"""A layer, the first of its images in this row, and one more than the last."""


@dataclass(frozen=True)
class ImageGrid:
    """The layout of a page of images.

    Attributes:
        room: width of a checkpoint's block.
        columns: images in a row of it.
        values: whether there is room for what an image reached.
        headed: whether a band has a heading.
    """

    room: float
    columns: int
    values: bool
    headed: bool

    @staticmethod
    def of(blocks: ImageBlocks) -> ImageGrid:
        """Return the layout for these entries: as large as they fit, 8 per row, or 16 for several layers."""
        across = max(map(len, blocks.values()))
        most = max(len(entries) for checkpoints in blocks.values() for entries in checkpoints.values())
        room = (TEXT_WIDTH - 2 * MARGIN - (across - 1) * GRID_GAP) / across
        columns = max(1, 8 // across) if len(blocks) == 1 else max(2, 16 // across)
        columns = min(columns, max(most, 4 if across == 1 else 2))
        return ImageGrid(
            room, columns, min(room / columns, LARGEST_CELL) >= READABLE_CELL, across > 1 or len(blocks) > 1
        )

    @property
    def pitch(self) -> float:
        """From one image to the next, in inches."""
        return min(self.room / self.columns, LARGEST_CELL)

    @property
    def step(self) -> float:
        """From one row to the next, in inches."""
        return GRID_NAME + self.pitch + (GRID_VALUES if self.values else 0.0)

    def left(self, position: int) -> float:
        """Return where the block of the checkpoint at this position begins."""
        return MARGIN + position * (self.room + GRID_GAP)

    def height(self, rows: list[ImageRowBlock]) -> float:
        """Return the height of a page with these rows."""
        bands = len({layer for layer, _, _ in rows}) if self.headed else 0
        return GRID_TOP - 0.1 + len(rows) * self.step + bands * GRID_BAND

    def pages(self, blocks: ImageBlocks) -> list[list[ImageRowBlock]]:
        """Return the rows of each page."""
        pages: list[list[ImageRowBlock]] = [[]]
        for layer, checkpoints in blocks.items():
            most = max(map(len, checkpoints.values()))
            for first in range(0, most, self.columns):
                row = (layer, first, first + self.columns)
                if pages[-1] and self.height([*pages[-1], row]) > TALLEST_PAGE:
                    pages.append([])
                pages[-1].append(row)
        return pages
