"""What hiding each region does to the margin of two classes, and how many predictions it flips: panels of regions.

All lengths are in inches.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from fervis.core.results import Explanation, RegionContrasts
from fervis.visualizers.figures import canvas
from fervis.visualizers.figures.axes import add_axes
from fervis.visualizers.figures.canvas import Sheet
from fervis.visualizers.figures.style import BLUE, FAINT_COLOR, GREY, MARGIN, RED, RULE_COLOR, TEXT_WIDTH

CONFUSED_ORDER = (
    *("hair", "forehead", "glabella", "brows", "eyes", "below_eyes", "nose", "cheeks", "cheek_outline"),
    *("mouth", "chin", "background"),
)
"""From the top of the face down."""
CONFUSED_TOP = 0.98
CONFUSED_NAMES = 0.92
CONFUSED_ROW = 0.15
CONFUSED_GAP = 0.14
_SHARES = ("flips", "flips/high", "elsewhere", "flips/random")


def draw_effects_sheet(explanation: Explanation, entries: Sequence[int], named: Sequence[str], dpi: int) -> Sheet:
    """Draw the effects of every region, and the flips it causes, a column per group of faces.

    Args:
        explanation: of the confused faces.
        entries: of one layer and checkpoint.
        named: what the heading names behind the network and the data.
        dpi: dots per inch.
    """
    result: RegionContrasts = explanation.result
    target, other = result.pairs[entries[0]]
    groups = entries_by_group(result, entries)
    regions = [name for name in CONFUSED_ORDER if name in {result.regions[entry] for entry in entries}]
    height = CONFUSED_ROW * len(regions)
    lower = CONFUSED_TOP + height + 0.56
    sheet = canvas.new_figure(TEXT_WIDTH, lower + height + 0.3, dpi)
    canvas.add_heading(sheet, confused_heading(explanation, entries, named))
    notes = (
        f"above: by how much the margin, the logit of {target} less that of {other}, falls when a region is hidden,"
        " in the mean with its 95 % interval;",
        "red: when random patches of that area on the face are hidden (grey: not on the face, compared with none);",
        "filled: clearly different from these (paired, corrected for the number of regions); below: share of the "
        "faces whose prediction flips",
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


def entries_by_group(result: RegionContrasts, entries: Sequence[int]) -> dict[str, list[int]]:
    """Return the entries of each group of faces, the confused ones first."""
    groups: dict[str, list[int]] = {}
    for entry in entries:
        groups.setdefault(result.groups[entry], []).append(entry)
    return groups


def confused_heading(explanation: Explanation, entries: Sequence[int], named: Sequence[str]) -> str:
    """Return the heading of a figure: the confused faces, the network and the data, and what else is named."""
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
        color = BLUE if np.isfinite(random) else GREY
        axes.plot([effect.low, effect.high], [line, line], color=color, linewidth=0.9, zorder=3)
        style = {"markerfacecolor": color if result.clear[entry] else "white", "markeredgewidth": 0.8}
        axes.plot([effect.value], [line], "o", color=color, markersize=3.2, zorder=4, **style)
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
            axes.plot([flips.low, flips.high], [line - 0.14] * 2, color="black", linewidth=0.7, zorder=3)
        axes.plot([random, random], [line - 0.4, line + 0.12], color=RED, linewidth=1.1, zorder=4)
    _rows_of_axes(axes, len(entries))


def _rows_of_axes(axes: Axes, count: int) -> None:
    axes.set_ylim(count - 0.5, -0.5)
    axes.set_yticks([])
    axes.locator_params(axis="x", nbins=5)
