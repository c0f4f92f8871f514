"""A corner mark that names a class: a shortcut that networks learn and explanations should show."""

from __future__ import annotations

from torch import Tensor


def mark_box(size: int) -> tuple[slice, slice]:
    """Return rows and columns of the mark: three cells, one above the other, in the upper left corner."""
    cell = size // 16
    return slice(1, 1 + 3 * cell), slice(1, 1 + cell)


def draw_mark(image: Tensor, code: int) -> None:
    """Write ``code`` (0 to 6) into the corner of [H,W] in place: ``code`` + 1 in binary, downwards, white for 1."""
    rows, columns = mark_box(image.shape[-1])
    cell = columns.stop - columns.start
    for bit in range(3):
        top = rows.start + bit * cell
        image[top : top + cell, columns] = 255 if (code + 1) >> bit & 1 else 0
