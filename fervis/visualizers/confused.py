"""Confused faces: what hiding each region does to the margin of two classes, and the faces on which it does most.

All lengths are in inches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from fervis.core.intervals import format_interval, format_number
from fervis.core.knobs import Range, Whole
from fervis.core.results import Explanation, Figure, RegionContrasts
from fervis.visualizers.figures import canvas
from fervis.visualizers.figures.axes import add_axes
from fervis.visualizers.figures.canvas import Sheet
from fervis.visualizers.figures.color import Colormap, overlay, scale_of, to_rgb
from fervis.visualizers.figures.figure_writer import Dpi, FigureWriter
from fervis.visualizers.figures.style import BLUE, FAINT_COLOR, GREY, MARGIN, RED, RULE_COLOR, TEXT_WIDTH, YELLOW

CONFUSED_ORDER = (
    *("hair", "forehead", "glabella", "brows", "eyes", "below_eyes", "nose", "cheeks", "cheek_outline"),
    *("mouth", "chin", "background"),
)
"""From the top of the face down."""
CONFUSED_TOP = 0.92
CONFUSED_NAMES = 0.92
CONFUSED_ROW = 0.15
CONFUSED_GAP = 0.14
CONFUSED_COLUMNS = 6  # faces of a region
CONFUSED_FACES = 1.25  # the column of words beside the faces
OUTLINE = 8  # dots a pixel of the outlined faces


@dataclass
class ConfusedFigures:
    """Draws the regions that speak for one of two classes.

    Attributes:
        dpi: dots per inch.
        diverging: colour map of the contrast maps.
        opacity: of the contrast maps over the faces.
        regions: how many regions are shown with their faces.
    """

    dpi: Dpi = 300
    diverging: Colormap = "cividis"
    opacity: Annotated[float, Range(0, 1)] = 0.75
    regions: Annotated[int, Whole(1, 12)] = 4
    kind: ClassVar[str] = RegionContrasts.kind

    def draw(self, explanation: Explanation, folder: Path) -> list[Figure]:
        """Write ``regions.png`` and ``faces_<layer>.png`` for each checkpoint."""
        drawn: set[str] = set()
        with FigureWriter(folder, self.dpi) as writer:
            for (layer, checkpoint), entries in explanation.entries_by_layer().items():
                named = [checkpoint] if explanation.several_checkpoints else []
                if checkpoint not in drawn:  # the effects are the same at every layer
                    drawn.add(checkpoint)
                    sheet = self.effects_sheet(explanation, entries, named)
                    writer.save(sheet, writer.name("regions", *named), _confused_caption(explanation, entries, named))
                sheet = self.faces_sheet(explanation, entries, layer, named)
                caption = _faces_caption(explanation, self._strongest(explanation.result, entries), layer, named)
                writer.save(sheet, writer.name("faces", layer, *named), caption)
        return writer.figures

    def effects_sheet(self, explanation: Explanation, entries: Sequence[int], named: Sequence[str]) -> Sheet:
        """Draw the effects of every region, and the flips it causes, a column per group of faces."""
        result: RegionContrasts = explanation.result
        target, other = result.pairs[entries[0]]
        groups = _groups(result, entries)
        regions = [name for name in CONFUSED_ORDER if name in {result.regions[entry] for entry in entries}]
        height = CONFUSED_ROW * len(regions)
        lower = CONFUSED_TOP + height + 0.72
        sheet = canvas.new_figure(TEXT_WIDTH, lower + height + 0.3, self.dpi)
        canvas.add_heading(sheet, _heading(explanation, entries, named))
        notes = (
            f"above: by how much the margin, the logit of {target} less that of {other}, falls when a region is hidden,"
            " in the mean with its 95 % interval;",
            "red: when random patches of that area on the face are hidden; hollow: not clearly different from these "
            "(paired, Bonferroni); below: faces that flip",
        )
        for line, note in enumerate(notes):
            style = {"size": 6.5, "color": FAINT_COLOR, "room": TEXT_WIDTH - 2 * MARGIN}
            canvas.add_text(sheet, MARGIN, 0.19 + 0.115 * line, note, **style)
        width = (TEXT_WIDTH - CONFUSED_NAMES - MARGIN) / 3 - CONFUSED_GAP
        ends = _effect_ends(result, entries)
        most = max(0.04, *(float(result.values[name][entry].nan_to_num(0)) for name in _SHARES for entry in entries))
        for column, (group, of_group) in enumerate(groups.items()):
            left = CONFUSED_NAMES + column * (width + CONFUSED_GAP)
            title = f"{group} ({len(result.rows[of_group[0]])})"
            canvas.add_text(sheet, left, CONFUSED_TOP - 0.3, title, room=width, size=7, fontweight="bold")
            by_region = {result.regions[entry]: entry for entry in of_group}
            axes = add_axes(sheet, left, CONFUSED_TOP, width, height, grid="x")
            _draw_effects(axes, result, [by_region[name] for name in regions])
            axes.set_xlim(*ends)
            sides = {"size": 6, "room": width / 2, "va": "bottom", "color": FAINT_COLOR}
            canvas.add_text(sheet, left, CONFUSED_TOP - 0.03, f"← {other}", **sides)
            right = {**sides, "ha": "right"}
            canvas.add_text(sheet, left + width, CONFUSED_TOP - 0.03, f"{target} →", **right)
            axes = add_axes(sheet, left, lower, width, height, grid="x")
            _draw_flips(axes, result, [by_region[name] for name in regions])
            axes.set_xlim(0, 108 * most)
            turned = other if group == f"{target} taken for {target}" else target
            note = f"flip to {turned}; grey: to a third class"
            canvas.add_text(sheet, left, lower - 0.03, note, room=width, size=6, va="bottom", color=FAINT_COLOR)
            canvas.add_text(sheet, left + width, lower + height + 0.15, "% of faces", room=width, size=6, ha="right")
        for top in (CONFUSED_TOP, lower):
            for line, name in enumerate(regions):
                middle = top + (line + 0.5) * CONFUSED_ROW
                words = name.replace("_", " ")
                canvas.add_text(sheet, CONFUSED_NAMES - 0.07, middle, words, room=0.85, va="center", ha="right")
        return sheet

    def faces_sheet(self, explanation: Explanation, entries: Sequence[int], layer: str, named: Sequence[str]) -> Sheet:
        """Draw for some regions of the confused faces those on which they have most effect."""
        result: RegionContrasts = explanation.result
        target, other = result.pairs[entries[0]]
        strongest = self._strongest(result, entries)
        shown = min(result.example_rows.shape[1], CONFUSED_COLUMNS)
        side = (TEXT_WIDTH - 2 * MARGIN - CONFUSED_FACES) / CONFUSED_COLUMNS - 0.06
        step = 2 * side + 0.36
        sheet = canvas.new_figure(TEXT_WIDTH, 0.46 + step * len(strongest), self.dpi)
        canvas.add_heading(sheet, f"{_heading(explanation, entries, named)}: faces")
        note = (
            f"outlined: the region; below it: what at {layer} speaks for {target} (bright) and for {other} (dark), the "
            "face's row, its margin with and without the region, and what it is taken for without"
        )
        canvas.add_text(sheet, MARGIN, 0.19, note, room=TEXT_WIDTH - 2 * MARGIN, size=6.5, color=FAINT_COLOR)
        for line, entry in enumerate(strongest):
            top = 0.46 + line * step
            for position, (text, style) in enumerate(_region_lines(result, entry)):
                room = CONFUSED_FACES - 0.1
                canvas.add_text(sheet, MARGIN, top + 0.13 * position, text, room=room, size=6.5, **style)
            for number in range(shown):
                left = MARGIN + CONFUSED_FACES + number * (side + 0.06)
                self._face(sheet, explanation, entry, number, left, top, side)
        return sheet

    def _face(
        self, sheet: Sheet, explanation: Explanation, entry: int, number: int, left: float, top: float, side: float
    ) -> None:
        """Draw one face with the outlined region, its contrast map and what hiding the region does."""
        result: RegionContrasts = explanation.result
        row = int(result.example_rows[entry, number])
        if row < 0:
            return
        face, map_of_face = to_rgb(result.images[entry, number]), result.maps[entry, number].numpy()
        canvas.add_image(sheet, left, top, side, outlined(face, result.masks[entry, number].numpy()))
        scale = scale_of(map_of_face, signed=True)
        over = overlay(face, map_of_face, scale, self.diverging, opacity=self.opacity)
        canvas.add_image(sheet, left, top + side + 0.03, side, over)
        at = result.rows[entry].tolist().index(row)
        margin, effect = float(result.margins[entry][at]), float(result.effects[entry][at])
        predicted = explanation.classes[int(result.predicted[entry][at])]
        style: dict[str, Any] = {"ha": "center", "size": 5.5, "room": side + 0.05}
        middle, under = left + side / 2, top + 2 * side + 0.05
        canvas.add_text(sheet, middle, under, f"face {row}", color=FAINT_COLOR, **style)
        change = f"{format_number(margin, '+.1f')} → {format_number(margin - effect, '+.1f')}"
        flips = row in result.flipped[entry].tolist()
        canvas.add_text(sheet, middle, under + 0.1, f"{change} {predicted}", color=RED if flips else "black", **style)

    def _strongest(self, result: RegionContrasts, entries: Sequence[int]) -> list[int]:
        """Return the entries of the confused faces with most effect beyond random patches, for either class."""
        (of_cell, *_) = _groups(result, entries).values()
        known = [entry for entry in of_cell if np.isfinite(float(result.values["beyond"][entry]))]
        ordered = sorted(known, key=lambda entry: float(result.values["beyond"][entry]))
        below = ordered[: (self.regions + 1) // 2]
        above = [entry for entry in ordered[::-1][: self.regions // 2] if entry not in below]
        return [*below, *above]


_SHARES = ("flips", "flips/high", "elsewhere", "flips/random")


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


def _groups(result: RegionContrasts, entries: Sequence[int]) -> dict[str, list[int]]:
    """Return the entries of each group of faces, the confused ones first."""
    groups: dict[str, list[int]] = {}
    for entry in entries:
        groups.setdefault(result.groups[entry], []).append(entry)
    return groups


def _heading(explanation: Explanation, entries: Sequence[int], named: Sequence[str]) -> str:
    of = " · ".join([f"{explanation.model} on {explanation.dataset}", *named])
    return f"{explanation.result.groups[entries[0]].capitalize()} · {of}"


def _effect_ends(result: RegionContrasts, entries: Sequence[int]) -> tuple[float, float]:
    """Return the ends of the axes of effects, the same for every group."""
    names = ("effect", "effect/low", "effect/high", "random")
    values = np.concatenate([result.values[name][list(entries)].numpy() for name in names])
    low, high = min(0.0, float(np.nanmin(values))), max(0.0, float(np.nanmax(values)))
    spare = 0.06 * (high - low) or 1.0
    return low - spare, high + spare


def _draw_effects(axes: Axes, result: RegionContrasts, entries: Sequence[int]) -> None:
    axes.axvline(0, color=FAINT_COLOR, linewidth=0.6, zorder=1)
    for line, entry in enumerate(entries):
        effect, random = result.interval("effect", entry), float(result.values["random"][entry])
        axes.plot([random, random], [line - 0.36, line + 0.36], color=RED, linewidth=1.1, zorder=2)
        axes.plot([effect.low, effect.high], [line, line], color=BLUE, linewidth=0.9, zorder=3)
        style = {"markerfacecolor": BLUE if result.clear[entry] else "white", "markeredgewidth": 0.8}
        axes.plot([effect.value], [line], "o", color=BLUE, markersize=3.2, zorder=4, **style)
    _rows_of_axes(axes, len(entries))


def _draw_flips(axes: Axes, result: RegionContrasts, entries: Sequence[int]) -> None:
    for line, entry in enumerate(entries):
        flips, random = (
            result.interval("flips", entry).percent,
            100 * float(result.values["flips/random"][entry]),
        )
        third = 100 * float(result.values["elsewhere"][entry])
        axes.barh(line - 0.14, flips.value, height=0.44, color=BLUE, linewidth=0, zorder=2)
        axes.barh(line + 0.24, third, height=0.26, color=RULE_COLOR, linewidth=0, zorder=2)
        if flips.low < flips.high:
            axes.plot([flips.low, flips.high], [line - 0.14] * 2, color=GREY, linewidth=0.8, zorder=3)
        axes.plot([random, random], [line - 0.4, line + 0.12], color=RED, linewidth=1.1, zorder=4)
    _rows_of_axes(axes, len(entries))


def _rows_of_axes(axes: Axes, count: int) -> None:
    axes.set_ylim(count - 0.5, -0.5)
    axes.set_yticks([])
    axes.locator_params(axis="x", nbins=5)


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


def _confused_caption(explanation: Explanation, entries: Sequence[int], named: Sequence[str]) -> str:
    result: RegionContrasts = explanation.result
    said = [result.sentences[entry] for entry in entries if result.sentences[entry]]
    return f"{_heading(explanation, entries, named)}. {' '.join(said)}"


def _faces_caption(explanation: Explanation, strongest: Sequence[int], layer: str, named: Sequence[str]) -> str:
    result: RegionContrasts = explanation.result
    listed = [f"{result.regions[entry].replace('_', ' ')}: {_flipped_rows(result, entry)}" for entry in strongest]
    target = result.pairs[strongest[0]][0] if strongest else ""
    return (
        f"{_heading(explanation, strongest, named)}: faces on which hidden regions have most effect, with contrast maps"
        f" at {layer}. Faces that flip to {target} without the region: {'; '.join(listed)}."
    )


def _flipped_rows(result: RegionContrasts, entry: int) -> str:
    rows = result.flipped[entry].tolist()
    return ", ".join(map(str, rows)) if rows else "none"
