"""The maps of many methods for the same faces on one sheet, for eyes that compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fervis.visualizers.figures import canvas
from fervis.visualizers.figures.canvas import Sheet
from fervis.visualizers.figures.color import overlay, scale_of
from fervis.visualizers.figures.style import FAINT_COLOR, MARGIN, TEXT_WIDTH

ONE_BLOCK = 12  # more methods stand in two blocks side by side
CLIP = 99.0  # percentile of a method's values that gets the last colour
OPACITY = 0.85
MAGNITUDES, SIGNED = "inferno", "cividis"  # as the heat maps of single methods
LABEL_WIDTH, GAP, HEAD, FOOT, LARGEST_TILE = 0.86, 0.03, 0.4, 0.42, 0.6  # inches


@dataclass(frozen=True)
class GalleryRow:
    """A method's maps.

    Attributes:
        name: of the method.
        note: what stands below the name, such as its family and layer.
        maps: [N,H,W], one per face.
    """

    name: str
    note: str
    maps: NDArray[np.float32]

    @property
    def signed(self) -> bool:
        """Whether 0 is the middle of the scale."""
        return bool(self.maps.min() < 0)


def draw_gallery(
    title: str, faces: Sequence[NDArray[np.uint8]], labels: Sequence[str], rows: Sequence[GalleryRow], dpi: int
) -> Sheet:
    """Draw a row per method: its name and its map over each face, all maps of the method on one scale.

    Args:
        title: of the sheet.
        faces: N pictures [H,W,3].
        labels: text above each face.
        rows: one per method.
        dpi: dots per inch.
    """
    blocks = 1 if len(rows) <= ONE_BLOCK else 2
    width = (TEXT_WIDTH - 2 * MARGIN - (blocks - 1) * 0.15) / blocks
    side = min(LARGEST_TILE, (width - LABEL_WIDTH) / len(faces) - GAP)
    step = side + GAP
    tall = -(-len(rows) // blocks)
    top = HEAD + step + 0.06
    sheet = canvas.new_figure(TEXT_WIDTH, top + tall * step + FOOT, dpi)
    canvas.add_heading(sheet, title)
    for block in range(blocks):
        left = MARGIN + block * (width + 0.15)
        for column, (face, label) in enumerate(zip(faces, labels, strict=True)):
            x = left + LABEL_WIDTH + column * step
            canvas.add_text(sheet, x, HEAD - 0.12, label, room=side, size=5.5, color=FAINT_COLOR)
            canvas.add_image(sheet, x, HEAD, side, face)
        for line, row in enumerate(rows[block * tall : (block + 1) * tall]):
            _draw_row(sheet, row, faces, left, top + line * step, side)
    _draw_legend(sheet, rows, top + tall * step + 0.06)
    return sheet


def _draw_row(
    sheet: Sheet, row: GalleryRow, faces: Sequence[NDArray[np.uint8]], left: float, top: float, side: float
) -> None:
    middle = top + side / 2
    canvas.add_text(sheet, left, middle - 0.1, row.name, room=LABEL_WIDTH - 0.05, size=6.5)
    canvas.add_text(sheet, left, middle + 0.01, row.note, room=LABEL_WIDTH - 0.05, size=5.0, color=FAINT_COLOR)
    scale = scale_of(row.maps, signed=row.signed, percentile=CLIP)
    colormap = SIGNED if row.signed else MAGNITUDES
    for column, (face, values) in enumerate(zip(faces, row.maps, strict=True)):
        picture = overlay(face, values, scale, colormap, opacity=OPACITY)
        canvas.add_image(sheet, left + LABEL_WIDTH + column * (side + GAP), top, side, picture)


def _draw_legend(sheet: Sheet, rows: Sequence[GalleryRow], top: float) -> None:
    """Draw a bar for magnitudes and one for signed maps, and how maps are scaled."""
    left = MARGIN
    if any(not row.signed for row in rows):
        canvas.colour_bar(sheet, left, top, 1.1, MAGNITUDES, ("0", "", "largest"))
        left += 1.35
    if any(row.signed for row in rows):
        canvas.colour_bar(sheet, left, top, 1.1, SIGNED, ("\N{MINUS SIGN}largest", "0", "largest"))
        left += 1.35
    room = TEXT_WIDTH - left - MARGIN
    text = (
        f"Each method has one scale for all its maps, up to percentile {CLIP:g} of its values. The stronger a map, the "
        "more it covers the face."
    )
    for line, words in enumerate(canvas.wrap_text(text, room=room, size=6.0)):
        canvas.add_text(sheet, left, top - 0.02 + 0.105 * line, words, room=room, size=6.0)
