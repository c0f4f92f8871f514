"""Where many small images stand on sheets of a paper's text width: a band a layer, checkpoints side by side in it.

All lengths are in inches.
"""

from __future__ import annotations

from dataclasses import dataclass

WIDTH = 6.5  # the text width of a paper
MARGIN = 0.04
BETWEEN = 0.16  # two checkpoints
TOP = 0.46
TALLEST = 8.6  # of a page
BAND = 0.21  # over the images of a layer, for its name
NAME = 0.11  # over an image
VALUES = 0.14  # under an image, for what it reached
READABLE = 0.7  # an image this wide has room for its values
LARGEST = 1.3

Blocks = dict[str, dict[str, list[int]]]
"""Entries by layer, then by checkpoint."""

Row = tuple[str, int, int]
"""A layer, the first of its images in this row, and one more than the last."""


@dataclass(frozen=True)
class Layout:
    """Where the images of a page stand.

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
    def of(blocks: Blocks) -> Layout:
        """The layout for these entries: as large as they fit, 8 a row, or 16 where there are several layers."""
        across = max(map(len, blocks.values()))
        most = max(len(entries) for checkpoints in blocks.values() for entries in checkpoints.values())
        room = (WIDTH - 2 * MARGIN - (across - 1) * BETWEEN) / across
        columns = max(1, 8 // across) if len(blocks) == 1 else max(2, 16 // across)
        columns = min(columns, max(most, 4 if across == 1 else 2))
        return Layout(room, columns, min(room / columns, LARGEST) >= READABLE, across > 1 or len(blocks) > 1)

    @property
    def pitch(self) -> float:
        """From one image to the next, in inches."""
        return min(self.room / self.columns, LARGEST)

    @property
    def step(self) -> float:
        """From one row to the next, in inches."""
        return NAME + self.pitch + (VALUES if self.values else 0.0)

    def left(self, place: int) -> float:
        """Where the block of the checkpoint of this place begins."""
        return MARGIN + place * (self.room + BETWEEN)

    def height(self, rows: list[Row]) -> float:
        """Of a page with these rows."""
        bands = len({layer for layer, _, _ in rows}) if self.headed else 0
        return TOP - 0.1 + len(rows) * self.step + bands * BAND

    def pages(self, blocks: Blocks) -> list[list[Row]]:
        """The rows of each page."""
        pages: list[list[Row]] = [[]]
        for layer, checkpoints in blocks.items():
            most = max(map(len, checkpoints.values()))
            for first in range(0, most, self.columns):
                row = (layer, first, first + self.columns)
                if pages[-1] and self.height([*pages[-1], row]) > TALLEST:
                    pages.append([])
                pages[-1].append(row)
        return pages
