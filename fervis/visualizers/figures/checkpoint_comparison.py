"""The comparison of two checkpoints, for a paper's text width: layer by layer, and the maps face by face.

The two checkpoints differ in colour, brightness and marker, so that they are distinct in grey and to every eye.
All lengths are in inches.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fervis.core.intervals import Interval
from fervis.core.results import Figure
from fervis.metrics.representation.checkpoint_comparison import (
    CheckpointComparison,
    LayerComparison,
    MapComparison,
    format_share,
    format_value,
)
from fervis.visualizers.figures import canvas
from fervis.visualizers.figures.axes import add_axes, add_legend_key, y_ticks
from fervis.visualizers.figures.canvas import Sheet
from fervis.visualizers.figures.style import BLUE, DASHED_LINE, GREY, MARKED_LINE, RED, TEXT_WIDTH, plain_style

COMPARISON_PANEL = (1.72, 1.5)
COMPARISON_LEFTS = (0.4, 2.56, 4.72)
COMPARISON_TOP = 0.66
STRIP = 0.3  # one set of maps and one measure
LAYER_NAME_WIDTH = 1.25  # room left of a strip for what it is of
AXIS_TICKS = ("\N{MINUS SIGN}1", "\N{MINUS SIGN}0.5", "0", "0.5", "1")
MOST_LAYER_NAMES = 20  # of layers below a panel
# Both checkpoints together are black.
CURVE_STYLES: tuple[dict[str, Any], ...] = (
    {"color": BLUE, "marker": "o", "linestyle": "-"},
    {"color": RED, "marker": "s", "linestyle": DASHED_LINE, "markerfacecolor": "white"},
)
BOTH_SIDES: dict[str, Any] = {"color": "black", "marker": "D", "linestyle": "-"}
Curve = tuple[dict[str, Any], list[Interval]]


def draw_checkpoint_comparison(comparison: CheckpointComparison, path: Path, *, title: str, dpi: int = 300) -> Figure:
    """Draw a comparison into a PNG 6.5 inches wide; the same numbers give the same bytes.

    Above, by layer: CKA of the two checkpoints, dead filters and black outputs of each, with 95 % intervals over faces.
    Below, one dot per face: how similar its two maps are, with the mean and its interval. A comparison without maps,
    or without layers, has the other half only.

    Args:
        comparison: of at least one layer or one set of maps.
        path: the PNG to write.
        title: which network on which faces.
        dpi: dots per inch.

    Returns:
        The picture and a caption with its numbers.
    """
    with plain_style():
        canvas.save_figure(checkpoint_comparison_figure(comparison, title=title, dpi=dpi), path, dpi)
    return Figure(path, _comparison_caption(comparison, title))


def checkpoint_comparison_figure(comparison: CheckpointComparison, *, title: str, dpi: int) -> Sheet:
    """Draw the sheet that ``draw_checkpoint_comparison`` saves."""
    names = [layer.layer for layer in comparison.layers]
    longest = max((len(name) for name in names), default=0)
    below = min(0.95, 0.1 + 0.055 * longest)  # room for the layers' names, which stand upright
    strips = [(maps, measure) for maps in comparison.maps for measure in ("SSIM", "Spearman")]
    foot = COMPARISON_TOP + (COMPARISON_PANEL[1] + below) * bool(names)
    sheet = canvas.new_figure(TEXT_WIDTH, foot + (0.24 + STRIP * len(strips) + 0.22) * bool(strips), dpi)
    canvas.add_heading(sheet, title)
    first, second = comparison.names
    agreement = f"{comparison.faces:,} faces, {format_share(comparison.agreement)} given the same class"
    agreement = f"checkpoints {first} and {second} · {agreement}"
    canvas.add_text(sheet, 0.04, 0.185, agreement, room=TEXT_WIDTH - 0.08, size=7)
    if names:
        _layers(sheet, comparison.layers, comparison.names)
    for index, (maps, measure) in enumerate(strips):
        _map_strip(sheet, foot + 0.24 + STRIP * index, maps, measure, last=index == len(strips) - 1)
    if strips:
        note = f"maps of {first} and {second}, one dot per face; below, the mean and its 95 % interval"
        note += "; dotted, the mean of maps of different faces"
        canvas.add_text(sheet, 0.04, foot + 0.06, note, room=TEXT_WIDTH - 0.08, size=7)
    return sheet


def _layers(sheet: Sheet, layers: Sequence[LayerComparison], names: tuple[str, str]) -> None:
    """Draw the three panels by layer, and the names of the two checkpoints' curves."""
    dead: list[Curve] = [(CURVE_STYLES[k], [layer.dead[k] for layer in layers]) for k in (0, 1)]
    black: list[Curve] = [(CURVE_STYLES[k], [layer.black[k] for layer in layers]) for k in (0, 1)]
    labels = [layer.layer for layer in layers]
    _comparison_panel(
        sheet, COMPARISON_LEFTS[0], "linear CKA", labels, [(BOTH_SIDES, [layer.cka for layer in layers])], share=False
    )
    _comparison_panel(sheet, COMPARISON_LEFTS[1], "dead filters (%)", labels, dead, share=True)
    _comparison_panel(sheet, COMPARISON_LEFTS[2], "black outputs (%)", labels, black, share=True)
    for k, left in enumerate((COMPARISON_LEFTS[1], COMPARISON_LEFTS[1] + 1.4)):
        add_legend_key(sheet, left, 0.41, CURVE_STYLES[k], f"checkpoint {names[k]}", room=1.05)
    add_legend_key(sheet, COMPARISON_LEFTS[0], 0.41, BOTH_SIDES, "the two compared", room=1.05)


def _comparison_panel(
    sheet: Sheet, left: float, what: str, names: list[str], curves: list[Curve], *, share: bool
) -> None:
    axes = add_axes(sheet, left, COMPARISON_TOP, *COMPARISON_PANEL, title=what, grid="y")
    positions = np.arange(len(names))
    factor = 100 if share else 1
    ends = [
        factor * end for _, numbers in curves for number in numbers for end in (number.value, number.low, number.high)
    ]
    for style, numbers in curves:
        values = factor * np.array([number.value for number in numbers])
        reach = factor * np.array([(number.low, number.high) for number in numbers])
        axes.plot(positions, values, clip_on=False, zorder=3, **MARKED_LINE, **style)
        axes.vlines(positions, reach[:, 0], reach[:, 1], color=style["color"], linewidth=0.9, zorder=2.5)
    if share:
        ticks, labels = y_ticks(np.array([*ends, 0.0, 5.0]))
    else:
        ticks, labels = [0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"]
    axes.set_ylim(ticks[0], ticks[-1])
    axes.set_yticks(ticks, labels)
    axes.set_xlim(-0.5, len(names) - 0.5)
    step = -(-len(names) // MOST_LAYER_NAMES)
    axes.set_xticks(positions[::step], [name[-16:] for name in names[::step]], rotation=90, fontsize=6)


def _map_strip(sheet: Sheet, top: float, maps: MapComparison, measure: str, *, last: bool) -> None:
    """Draw one measure of all faces along a line: the dots, and below them their mean with its interval."""
    structural = measure == "SSIM"
    values, mean = (maps.ssim, maps.mean_ssim) if structural else (maps.spearman, maps.mean_spearman)
    other = (maps.other_ssim if structural else maps.other_spearman).value
    known = values[values.isfinite()].numpy()
    axes = add_axes(sheet, LAYER_NAME_WIDTH + 0.05, top, TEXT_WIDTH - LAYER_NAME_WIDTH - 1.5, STRIP, grid="x")
    # Spread in height by multiples of the golden ratio: as even as can be, and the same each time.
    height = 0.42 + 0.5 * (np.arange(len(known)) * (math.sqrt(5) - 1) / 2 % 1)
    size = 2.2 if len(known) > 60 else 7
    axes.scatter(known, height, s=size, color=GREY, alpha=0.55, linewidths=0, zorder=2)
    if math.isfinite(mean.value):
        axes.hlines(0.18, mean.low, mean.high, color="black", linewidth=1.8, zorder=3)
        axes.vlines(mean.value, 0.04, 0.32, color="black", linewidth=0.9, zorder=4)
    axes.vlines(other, 0.04, 0.96, color=RED, linewidth=0.9, linestyle=(0, (1.5, 1)), zorder=3.5)
    axes.set_xlim(-1, 1)
    axes.set_ylim(0, 1)
    axes.set_xticks([-1, -0.5, 0, 0.5, 1], AXIS_TICKS if last else [""] * len(AXIS_TICKS))
    axes.set_yticks([])
    axes.spines[["left"]].set_visible(False)
    axes.spines[["bottom"]].set_visible(last)
    axes.tick_params(bottom=last)
    middle = top + STRIP / 2
    canvas.add_text(
        sheet,
        LAYER_NAME_WIDTH,
        middle,
        f"{measure} at {maps.name}",
        room=LAYER_NAME_WIDTH - 0.06,
        va="center",
        ha="right",
    )
    canvas.add_text(sheet, TEXT_WIDTH - 1.4, middle, format_value(mean), room=1.36, size=6.5, va="center")


def _comparison_caption(comparison: CheckpointComparison, title: str) -> str:
    first, second = comparison.names
    sentences = [
        f"{title}. Checkpoints {first} and {second} compared on {comparison.faces:,} faces, of which they give "
        f"{format_share(comparison.agreement)} the same class"
    ]
    if comparison.layers:
        sentences.append("By layer: linear CKA of the two, dead filters and black outputs of each, with 95 % intervals")
        sentences.append(f"CKA is {_span(comparison.layers, lambda layer: layer.cka, format_value)}")
        for k, name in enumerate(comparison.names):
            dead = _span(comparison.layers, lambda layer, k=k: layer.dead[k], format_share)
            black = _span(comparison.layers, lambda layer, k=k: layer.black[k], format_share)
            sentences.append(f"Dead filters of {name}: {dead}; black outputs of {name}: {black}")
    for maps in comparison.maps:
        left_out = int((~maps.spearman.isfinite()).sum())
        without = f", {left_out} of them without, since a map is constant" if left_out else ""
        count = len(maps.ssim)
        sentences.append(
            f"Maps at {maps.name} of {count:,} face{'s' * (count > 1)}: "
            f"SSIM {format_value(maps.mean_ssim)} in the mean, "
            f"each on its own range; Spearman {format_value(maps.mean_spearman)}{without}; with another face's map "
            f"{format_value(maps.other_ssim)} and {format_value(maps.other_spearman)}"
        )
    return ". ".join(sentences) + "."


def _span(
    layers: Sequence[LayerComparison], of: Callable[[LayerComparison], Interval], words: Callable[[Interval], str]
) -> str:
    """Describe the least and the largest of a number over the layers."""
    known = [layer for layer in layers if math.isfinite(of(layer).value)]
    if not known:
        return "not defined at any layer"
    least, most = (pick(known, key=lambda layer: of(layer).value) for pick in (min, max))
    if of(least).value == of(most).value:
        return f"{words(of(least))} at every layer" if len(known) > 1 else f"{words(of(least))} at {least.layer}"
    return f"least at {least.layer} ({words(of(least))}) and largest at {most.layer} ({words(of(most))})"
