"""Faces on which hidden regions have most effect, with the region outlined and the contrast map of the two classes.

All lengths are in inches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fervis.core.intervals import format_interval, format_number
from fervis.core.results import Explanation, RegionContrasts
from fervis.visualizers.figures import canvas
from fervis.visualizers.figures.canvas import Sheet
from fervis.visualizers.figures.color import overlay, scale_of, to_rgb
from fervis.visualizers.figures.contrast.effects import confused_heading
from fervis.visualizers.figures.style import FAINT_COLOR, MARGIN, RED, TEXT_WIDTH, YELLOW

CONFUSED_COLUMNS = 6  # faces of a region
CONFUSED_FACES = 1.25  # the column of words beside the faces
OUTLINE = 8  # dots a pixel of the outlined faces


@dataclass(frozen=True)
class ContrastStyle:
    """How contrast maps are drawn over faces.

    Attributes:
        dpi: dots per inch.
        colormap: diverging, its upper end for the target.
        opacity: of the maps.
    """

    dpi: int
    colormap: str
    opacity: float


def draw_faces_sheet(
    explanation: Explanation, entries: Sequence[int], layer: str, named: Sequence[str], style: ContrastStyle
) -> Sheet:
    """Draw a row per entry: what the region does, and the faces on which it does most.

    Args:
        explanation: of the confused faces.
        entries: of the regions.
        layer: name of the layer of the contrast maps.
        named: what the heading names behind the network and the data.
        style: of the maps.
    """
    result: RegionContrasts = explanation.result
    target, other = result.pairs[entries[0]]
    side = (TEXT_WIDTH - 2 * MARGIN - CONFUSED_FACES) / CONFUSED_COLUMNS - 0.06
    step = 2 * side + 0.36
    sheet = canvas.new_figure(TEXT_WIDTH, 0.46 + step * len(entries), style.dpi)
    canvas.add_heading(sheet, f"{confused_heading(explanation, entries, named)}: faces")
    note = (
        f"outlined: the region; below it: what at {layer} speaks for {target} (bright) and for {other} (dark), the "
        "face's row, its margin with and without the region, and what it is taken for without"
    )
    canvas.add_text(sheet, MARGIN, 0.19, note, room=TEXT_WIDTH - 2 * MARGIN, size=6.5, color=FAINT_COLOR)
    for line, entry in enumerate(entries):
        top = 0.46 + line * step
        for position, (text, look) in enumerate(_region_lines(result, entry)):
            room = CONFUSED_FACES - 0.1
            canvas.add_text(sheet, MARGIN, top + 0.13 * position, text, room=room, size=6.5, **look)
        for number in range(min(result.example_rows.shape[1], CONFUSED_COLUMNS)):
            left = MARGIN + CONFUSED_FACES + number * (side + 0.06)
            _confused_face(sheet, explanation, (entry, number), (left, top, side), style)
    return sheet


def _confused_face(
    sheet: Sheet,
    explanation: Explanation,
    item: tuple[int, int],
    place: tuple[float, float, float],
    contrast: ContrastStyle,
) -> None:
    """Draw one face with the outlined region, its contrast map and what hiding the region does."""
    result: RegionContrasts = explanation.result
    (entry, number), (left, top, side) = item, place
    row = int(result.example_rows[entry, number])
    if row < 0:
        return
    face, map_of_face = to_rgb(result.images[entry, number]), result.maps[entry, number].numpy()
    canvas.add_image(sheet, left, top, side, outlined(face, result.masks[entry, number].numpy()))
    scale = scale_of(map_of_face, signed=True)
    over = overlay(face, map_of_face, scale, contrast.colormap, opacity=contrast.opacity)
    canvas.add_image(sheet, left, top + side + 0.03, side, over)
    at = result.rows[entry].tolist().index(row)
    margin, effect = float(result.margins[entry][at]), float(result.effects[entry][at])
    predicted = explanation.classes[int(result.predicted[entry][at])]
    style: dict[str, Any] = {"ha": "center", "size": 5.5, "room": side + 0.05}
    middle, under = left + side / 2, top + 2 * side + 0.05
    canvas.add_text(sheet, middle, under, f"face {row}", color=FAINT_COLOR, **style)
    change = " \N{RIGHTWARDS ARROW} ".join(map(_signed_margin, (margin, margin - effect)))
    flips = row in result.flipped[entry].tolist()
    canvas.add_text(sheet, middle, under + 0.1, f"{change} {predicted}", color=RED if flips else "black", **style)


def outlined(face: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return a face [H,W,3] enlarged, with a line along the inside of a region's edge."""
    large = face.repeat(OUTLINE, 0).repeat(OUTLINE, 1)
    inside = np.pad(mask.repeat(OUTLINE, 0).repeat(OUTLINE, 1), 3)
    inner = inside.copy()
    for shift in (-3, 3):
        inner &= np.roll(inside, shift, 0) & np.roll(inside, shift, 1)
    edge = (inside & ~inner)[3:-3, 3:-3]
    color = [int(YELLOW[place : place + 2], 16) for place in (1, 3, 5)]
    large[edge] = color
    return large


def _signed_margin(margin: float) -> str:
    return format_number(round(margin, 1) + 0.0, "+.1f")  # -0.0 + 0.0 is 0.0


def _region_lines(result: RegionContrasts, entry: int) -> list[tuple[str, dict[str, Any]]]:
    """Return the lines beside the faces of a region."""
    target, other = result.pairs[entry]
    beyond, faint = result.interval("beyond", entry), {"color": FAINT_COLOR}
    name = target if beyond.value > 0 else other
    count, known = len(result.flipped[entry]), int(result.effects[entry].isfinite().sum())
    lines: list[tuple[str, dict[str, Any]]] = [(result.regions[entry].replace("_", " "), {"fontweight": "bold"})]
    lines.append((f"for {name}" if result.clear[entry] else f"for {name}, not clearly", {}))
    lines.append((format_interval(beyond, "+.2f"), faint))
    lines.append((f"flips {count} of {known} faces", faint))
    random = 100 * float(result.values["flips/random"][entry])
    return [*lines, (f"random patches {format_number(random, '.0f')} %", faint)]
