"""The learning curves of a training, for a paper's text width: loss and accuracy over the epochs.

Train and validation differ in line, marker, brightness and by a name at each curve's end, so that they are distinct
in grey and to every eye. All lengths are in inches.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from fervis.core.intervals import format_number
from fervis.core.results import Figure
from fervis.errors import ConfigError
from fervis.visualizers.figures import canvas
from fervis.visualizers.figures.axes import add_axes, epoch_ticks, y_ticks
from fervis.visualizers.figures.canvas import Sheet
from fervis.visualizers.figures.style import BLUE, DASHED_LINE, FAINT_COLOR, RED, TEXT_WIDTH, plain_style

CURVES_HEIGHT = 2.65
CURVES_PANEL = (2.08, 1.72)
CURVES_LEFTS = {"loss": 0.53, "accuracy": 3.85}
CURVES_TOP = 0.57
CURVES_LEGEND = 0.53  # room right of a panel for the names of its curves
CURVE_NAME_HEIGHT = 0.12  # from a line of text to the next
CURVE_MARKERS = 15  # about as many per curve, however many epochs
# Blue and red are 20 steps of CIELAB lightness apart.
SPLIT_STYLES: dict[str, dict[str, Any]] = {
    "train": {"color": RED, "linestyle": DASHED_LINE, "marker": "s", "markerfacecolor": "white"},
    "val": {"color": BLUE, "linestyle": "-", "marker": "o", "solid_capstyle": "butt"},
}
CURVE_NAMES = {"train": "train", "val": "validation"}
CURVE_UNITS = {"loss": "loss (nats per face)", "accuracy": "accuracy (% of faces)"}


def draw_learning_curves(
    history: Sequence[Mapping[str, float]], path: Path, *, title: str, best: int, dpi: int = 300
) -> Figure:
    """Draw loss and accuracy over the epochs into a PNG 6.5 inches wide; the same numbers give the same bytes.

    Args:
        history: one row per epoch, in order: ``epoch``, ``train/loss`` and ``val/loss`` (mean cross-entropy, nats),
            ``train/accuracy`` and ``val/accuracy`` (in [0, 1]), ``lr`` and ``images_per_second``. A number that is
            missing or not finite is a gap in its curve, and the caption counts it.
        path: the PNG to write.
        title: what was trained on what.
        best: the selected epoch.
        dpi: dots per inch.

    Returns:
        The picture and a caption with its numbers: those of the best and the last epoch, and the gaps.

    Raises:
        ConfigError: no epochs, or ``best`` is not among them.
    """
    epochs = [int(row["epoch"]) for row in history]
    if best not in epochs:
        span = f"an epoch of the history, {epochs[0]} to {epochs[-1]}" if epochs else "a history of one epoch at least"
        raise ConfigError(f"best={best}: expected {span}.")
    with plain_style():
        canvas.save_figure(learning_curves(history, title=title, best=best, dpi=dpi), path, dpi)
    return Figure(path, _curves_caption(history, title, best))


def learning_curves(history: Sequence[Mapping[str, float]], *, title: str, best: int, dpi: int) -> Sheet:
    """Draw the sheet that ``draw_learning_curves`` saves."""
    sheet = canvas.new_figure(TEXT_WIDTH, CURVES_HEIGHT, dpi)
    canvas.add_heading(sheet, title)
    canvas.add_text(sheet, 0.04, 0.185, _pace(history), room=TEXT_WIDTH - 0.08, size=6.5, color=FAINT_COLOR)
    epochs = np.array([row["epoch"] for row in history], dtype=np.float64)
    thickness = 1.1 if len(epochs) <= 100 else 0.8
    position = int(np.flatnonzero(epochs == best)[0])
    for quantity, left in CURVES_LEFTS.items():
        train, val = (_column(history, f"{split}/{quantity}") for split in ("train", "val"))
        axes = _curves_panel(sheet, left, quantity, epochs, np.concatenate([train, val]))
        axes.axvline(best, color=FAINT_COLOR, linewidth=0.7, linestyle=(0, (1, 1.5)), zorder=1)
        for split, values in (("train", train), ("val", val)):
            marked = _marked(values, offset=0) if split == "train" else sorted({position, *_marked(values, offset=1)})
            style: dict[str, Any] = SPLIT_STYLES[split] | {"markersize": 2.6, "markeredgewidth": 0.8}
            axes.plot(epochs, values, markevery=marked, linewidth=thickness, clip_on=False, zorder=3, **style)
        chosen = float(val[position])
        ring: dict[str, Any] = {"markersize": 7, "fillstyle": "none", "markeredgewidth": 0.8, "color": "black"}
        axes.plot(best, chosen, "o", clip_on=False, zorder=4, **ring)
        _name_curves(sheet, axes, left, {"train": train, "val": val})
        note = f"best epoch {best}" if quantity == "accuracy" else f"epoch {best}"
        if math.isfinite(chosen):
            note += f": validation {_format_best(quantity, chosen / 100 if quantity == 'accuracy' else chosen)}"
        low, high = axes.get_xlim()
        _write_about(sheet, left + CURVES_PANEL[0] * (best - low) / (high - low), left, note)
    return sheet


def _curves_panel(sheet: Sheet, left: float, quantity: str, epochs: NDArray[Any], values: NDArray[Any]) -> Axes:
    axes = add_axes(sheet, left, CURVES_TOP, *CURVES_PANEL, grid="y")
    first, last = float(epochs.min()), float(epochs.max())
    margin = 0.02 * (last - first) or 0.5
    axes.set_xlim(first - margin, last + margin)
    axes.set_xticks(epoch_ticks(int(first), int(last)))
    ticks, labels = y_ticks(values)
    axes.set_ylim(ticks[0], ticks[-1])
    axes.set_yticks(ticks, labels, fontsize=6.5 if max(map(len, labels)) <= 6 else 5.0)
    axes.set_xlabel("epoch", fontsize=7, labelpad=2)
    canvas.add_text(
        sheet, left - 0.49, CURVES_TOP + CURVES_PANEL[1] / 2, CURVE_UNITS[quantity], room=2, size=7, va="center"
    ).set_rotation(90)
    return axes


def _column(history: Sequence[Mapping[str, float]], key: str) -> NDArray[np.float64]:
    """Return one number of each epoch as it is drawn (accuracies in per cent), nan where there is none."""
    values = np.array([row.get(key, math.nan) for row in history], dtype=np.float64)
    values[~np.isfinite(values)] = math.nan
    return 100 * values if key.endswith("accuracy") else values


def _marked(values: NDArray[Any], *, offset: int) -> list[int]:
    """Choose the points with a marker: at regular steps, from half a step for offset 1, and each without a line."""
    step = -(-len(values) // CURVE_MARKERS)
    around = np.pad(np.isfinite(values), 1)
    alone = around[1:-1] & ~around[:-2] & ~around[2:]
    regular = range(offset * (step // 2), len(values), step)
    return sorted({*regular, *np.flatnonzero(alone).tolist()})


def _name_curves(sheet: Sheet, axes: Axes, left: float, curves: Mapping[str, NDArray[Any]]) -> None:
    """Write each curve's name right of the panel at the height where it ends, moved apart where they would meet.

    Names stay below the panel's upper edge: above it stands the note on the best epoch.
    """
    low, high = axes.get_ylim()
    heights: dict[str, float] = {}
    for split, values in curves.items():
        if (finite := values[np.isfinite(values)]).size:
            heights[split] = CURVES_PANEL[1] * (high - float(finite[-1])) / (high - low)
    if len(heights) == 2:
        upper, lower = sorted(heights, key=heights.__getitem__)
        short = max(0.0, CURVE_NAME_HEIGHT - (heights[lower] - heights[upper])) / 2
        heights[upper], heights[lower] = heights[upper] - short, heights[lower] + short
        down = max(0.0, CURVE_NAME_HEIGHT / 2 - heights[upper])
        heights[upper] += down
        heights[lower] = max(heights[lower], heights[upper] + CURVE_NAME_HEIGHT)
    elif heights:
        heights = {split: max(height, CURVE_NAME_HEIGHT / 2) for split, height in heights.items()}
    for split, height in heights.items():
        x, y = left + CURVES_PANEL[0] + 0.06, CURVES_TOP + height
        canvas.add_text(
            sheet, x, y, CURVE_NAMES[split], room=CURVES_LEGEND, size=7, va="center", color=SPLIT_STYLES[split]["color"]
        )


def _write_about(sheet: Sheet, x: float, left: float, text: str) -> None:
    """Write above a panel, centred at x as far as the panel and the room at its right allow."""
    line = canvas.add_text(
        sheet, x, CURVES_TOP - 0.055, text, room=CURVES_PANEL[0] + CURVES_LEGEND, size=7, va="bottom", ha="center"
    )
    half = line.get_window_extent().width / sheet.dpi / 2
    line.set_x(min(max(x, left + half), left + CURVES_PANEL[0] + CURVES_LEGEND - half) / TEXT_WIDTH)


def _format_best(quantity: str, value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return f"no finite {quantity}"
    return f"{quantity} {100 * value:.1f} %" if quantity == "accuracy" else f"{quantity} {format_number(value)}"


def _pace(history: Sequence[Mapping[str, float]]) -> str:
    """Describe how long, at which learning rates and how fast it was trained, as far as the history states it."""
    rates, speeds = (_column(history, key) for key in ("lr", "images_per_second"))
    parts = [f"{len(history)} epoch{'s' * (len(history) > 1)}"]
    if np.isfinite(rates).all():
        most, last = float(rates.max()), float(rates[-1])
        parts.append(f"learning rate {format_number(most)}" + f" at most, {format_number(last)} last" * (most != last))
    if np.isfinite(speeds).any():
        parts.append(f"{np.nanmedian(speeds):,.0f} images/s (median)")
    return " · ".join(parts)


def _curves_caption(history: Sequence[Mapping[str, float]], title: str, best: int) -> str:
    def numbers(row: Mapping[str, float]) -> str:
        sides = (
            f"{name} {_format_best('accuracy', row.get(f'{split}/accuracy'))}, "
            f"{_format_best('loss', row.get(f'{split}/loss'))}"
            for split, name in reversed(CURVE_NAMES.items())
        )
        return "; ".join(sides)

    chosen, last = next(row for row in history if row["epoch"] == best), history[-1]
    sentences = [
        f"{title}. Loss (nats per face) and accuracy over epochs, train (dashed, squares) and validation (solid, dots)",
        _pace(history)[:1].upper() + _pace(history)[1:],
        f"Best epoch {best}: {numbers(chosen)}",
    ]
    if last is not chosen:
        sentences.append(f"Last epoch {int(last['epoch'])}: {numbers(last)}")
    keys = [f"{split}/{quantity}" for split in CURVE_NAMES for quantity in CURVE_UNITS]
    gaps = {key: int(np.isnan(_column(history, key)).sum()) for key in keys}
    if any(gaps.values()):
        missing = ", ".join(f"{key} in {count} of {len(history)} epochs" for key, count in gaps.items() if count)
        sentences.append(f"Gaps, where a number is not finite: {missing}")
    return ". ".join(sentences) + "."
