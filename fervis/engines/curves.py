"""The learning curves of a training, for a paper's text width: loss and accuracy over the epochs.

Train and validation differ in line, marker, brightness and by a name beside each curve, so that they are told apart
in grey and by every eye. All lengths are in inches.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from fervis.engines import drawing
from fervis.engines.drawing import FAINT, Sheet
from fervis.errors import WrongQuestion
from fervis.results import Figure

WIDTH, HEIGHT = 6.5, 2.65  # the first is the text width of a paper
PANEL = (2.08, 1.72)
LEFTS = {"loss": 0.53, "accuracy": 3.85}
TOP = 0.57
BESIDE = 0.53  # room right of a panel for the names of its curves
LINE = 0.12  # from a line of text to the next
MARKERS = 15  # about as many a curve, however many epochs
# The blue and the red of Tol's high-contrast colours: 20 steps of CIELAB lightness apart.
LOOKS: dict[str, dict[str, Any]] = {
    "train": {"color": "#BB5566", "linestyle": (0, (3.2, 1.6)), "marker": "s", "markerfacecolor": "white"},
    "val": {"color": "#004488", "linestyle": "-", "marker": "o", "solid_capstyle": "butt"},
}
NAMES = {"train": "train", "val": "validation"}
UNITS = {"loss": "loss (nats per face)", "accuracy": "accuracy (% of faces)"}


def draw_curves(history: Sequence[Mapping[str, float]], path: Path, *, title: str, best: int, dpi: int = 300) -> Figure:
    """Draw loss and accuracy over the epochs into a PNG 6.5 inches wide; the same numbers give the same bytes.

    Args:
        history: one row an epoch, in order: ``epoch``, ``train/loss`` and ``val/loss`` (mean cross-entropy, nats),
            ``train/accuracy`` and ``val/accuracy`` (in [0, 1]), ``lr`` and ``images_per_second``. A number that is
            missing or not finite is a gap in its curve, and the caption counts it.
        path: the PNG to write.
        title: what was trained on what.
        best: the epoch that was chosen.
        dpi: dots an inch.

    Returns:
        The picture and a caption that says its numbers: those of the best and the last epoch, and the gaps.

    Raises:
        WrongQuestion: no epochs, or ``best`` is not among them.
    """
    epochs = [int(row["epoch"]) for row in history]
    if best not in epochs:
        span = f"an epoch of the history, {epochs[0]} to {epochs[-1]}" if epochs else "a history of one epoch at least"
        raise WrongQuestion(f"best={best}: expected {span}.")
    with drawing.plain_style():
        drawing.save(curves(history, title=title, best=best, dpi=dpi), path, dpi)
    return Figure(path, _caption(history, title, best))


def curves(history: Sequence[Mapping[str, float]], *, title: str, best: int, dpi: int) -> Sheet:
    """The sheet that ``draw_curves`` saves."""
    sheet = drawing.sheet(WIDTH, HEIGHT, dpi)
    drawing.write(sheet, 0.04, 0.03, title, room=WIDTH - 0.08, size=8.5, fontweight="bold")
    drawing.write(sheet, 0.04, 0.185, _pace(history), room=WIDTH - 0.08, size=6.5, color=FAINT)
    epochs = np.array([row["epoch"] for row in history], dtype=np.float64)
    thickness = 1.1 if len(epochs) <= 100 else 0.8
    place = int(np.flatnonzero(epochs == best)[0])
    for quantity, left in LEFTS.items():
        train, val = (_column(history, f"{split}/{quantity}") for split in ("train", "val"))
        axes = _panel(sheet, left, quantity, epochs, np.concatenate([train, val]))
        axes.axvline(best, color=FAINT, linewidth=0.7, linestyle=(0, (1, 1.5)), zorder=1)
        for split, values in (("train", train), ("val", val)):
            shown = _marked(values, offset=0) if split == "train" else sorted({place, *_marked(values, offset=1)})
            looks: dict[str, Any] = LOOKS[split] | {"markersize": 2.6, "markeredgewidth": 0.8}
            axes.plot(epochs, values, markevery=shown, linewidth=thickness, clip_on=False, zorder=3, **looks)
        chosen = float(val[place])
        ring: dict[str, Any] = {"markersize": 7, "fillstyle": "none", "markeredgewidth": 0.8, "color": "black"}
        axes.plot(best, chosen, "o", clip_on=False, zorder=4, **ring)
        _name_curves(sheet, axes, left, {"train": train, "val": val})
        said = f"best epoch {best}" if quantity == "accuracy" else f"epoch {best}"
        if math.isfinite(chosen):
            said += f": validation {_said(quantity, chosen / 100 if quantity == 'accuracy' else chosen)}"
        low, high = axes.get_xlim()
        _write_about(sheet, left + PANEL[0] * (best - low) / (high - low), left, said)
    return sheet


def _panel(sheet: Sheet, left: float, quantity: str, epochs: NDArray[Any], values: NDArray[Any]) -> Axes:
    bottom = HEIGHT - TOP - PANEL[1]
    axes = sheet.add_axes((left / WIDTH, bottom / HEIGHT, PANEL[0] / WIDTH, PANEL[1] / HEIGHT))
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set(linewidth=0.6, color=FAINT)
    axes.tick_params(labelsize=6.5, width=0.6, length=2.5, pad=2, color=FAINT)
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.5, zorder=0)
    axes.set_axisbelow(True)
    first, last = float(epochs.min()), float(epochs.max())
    margin = 0.02 * (last - first) or 0.5
    axes.set_xlim(first - margin, last + margin)
    axes.set_xticks(epoch_ticks(int(first), int(last)))
    ticks, labels = y_ticks(values)
    axes.set_ylim(ticks[0], ticks[-1])
    axes.set_yticks(ticks, labels, fontsize=6.5 if max(map(len, labels)) <= 6 else 5.0)
    axes.set_xlabel("epoch", fontsize=7, labelpad=2)
    drawing.write(sheet, left - 0.49, TOP + PANEL[1] / 2, UNITS[quantity], room=2, size=7, va="center").set_rotation(90)
    return axes


def epoch_ticks(first: int, last: int) -> list[int]:
    """The first epoch and the round ones after it that leave room for its number."""
    round_ones = np.asarray(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]).tick_values(first, last))
    apart = (last - first) / 12
    return [first, *(int(tick) for tick in round_ones.tolist() if first + apart < tick <= last)]


def y_ticks(values: NDArray[Any]) -> tuple[list[float], list[str]]:
    """Round ticks about the finite values, with labels; from 0, unless the least is over a quarter of the largest."""
    finite = values[np.isfinite(values)]
    scale = drawing.scale_of(finite, signed=False) if finite.size else None
    low, high = (scale.low, scale.high) if scale else (0.0, 1.0)
    if low == high:
        low, high = (low, low + 1) if low >= 0 else (low, 0.0)
    ticks = np.asarray(MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(low, high))
    decimals = max(0, -math.floor(math.log10(ticks[1] - ticks[0]) + 1e-9))
    plain = decimals <= 4 and np.abs(ticks).max() < 1e5
    labels = [
        f"{tick:.{decimals}f}".replace("-", "\N{MINUS SIGN}") if plain else drawing.number(tick) for tick in ticks
    ]
    return ticks.tolist(), labels


def _column(history: Sequence[Mapping[str, float]], key: str) -> NDArray[np.float64]:
    """One number of each epoch as it is drawn (accuracies in per cent), nan where there is none."""
    values = np.array([row.get(key, math.nan) for row in history], dtype=np.float64)
    values[~np.isfinite(values)] = math.nan
    return 100 * values if key.endswith("accuracy") else values


def _marked(values: NDArray[Any], *, offset: int) -> list[int]:
    """Which points get a marker: every so many, from half a step on for 1, and each that no line would show."""
    step = -(-len(values) // MARKERS)
    around = np.pad(np.isfinite(values), 1)
    alone = around[1:-1] & ~around[:-2] & ~around[2:]
    regular = range(offset * (step // 2), len(values), step)
    return sorted({*regular, *np.flatnonzero(alone).tolist()})


def _name_curves(sheet: Sheet, axes: Axes, left: float, curves: Mapping[str, NDArray[Any]]) -> None:
    """Write each curve's name right of the panel at the height where it ends, moved apart where they would meet."""
    low, high = axes.get_ylim()
    heights: dict[str, float] = {}
    for split, values in curves.items():
        if (finite := values[np.isfinite(values)]).size:
            heights[split] = PANEL[1] * (high - float(finite[-1])) / (high - low)
    if len(heights) == 2:
        upper, lower = sorted(heights, key=heights.__getitem__)
        short = max(0.0, LINE - (heights[lower] - heights[upper])) / 2
        heights[upper], heights[lower] = heights[upper] - short, heights[lower] + short
    for split, height in heights.items():
        x, y = left + PANEL[0] + 0.06, TOP + height
        drawing.write(sheet, x, y, NAMES[split], room=BESIDE, size=7, va="center", color=LOOKS[split]["color"])


def _write_about(sheet: Sheet, x: float, left: float, text: str) -> None:
    """Write above a panel, centred at x as far as the panel and the room beside it allow."""
    line = drawing.write(sheet, x, TOP - 0.055, text, room=PANEL[0] + BESIDE, size=7, va="bottom", ha="center")
    half = line.get_window_extent().width / sheet.dpi / 2
    line.set_x(min(max(x, left + half), left + PANEL[0] + BESIDE - half) / WIDTH)


def _said(quantity: str, value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return f"no finite {quantity}"
    return f"{quantity} {100 * value:.1f} %" if quantity == "accuracy" else f"{quantity} {drawing.number(value)}"


def _pace(history: Sequence[Mapping[str, float]]) -> str:
    """How long, at which learning rates and how fast it was trained, as far as the history says."""
    rates, speeds = (_column(history, key) for key in ("lr", "images_per_second"))
    parts = [f"{len(history)} epoch{'s' * (len(history) > 1)}"]
    if np.isfinite(rates).all():
        most, last = float(rates.max()), float(rates[-1])
        parts.append(
            f"learning rate {drawing.number(most)}" + f" at most, {drawing.number(last)} last" * (most != last)
        )
    if np.isfinite(speeds).any():
        parts.append(f"{np.nanmedian(speeds):,.0f} images/s (median)")
    return " · ".join(parts)


def _caption(history: Sequence[Mapping[str, float]], title: str, best: int) -> str:
    def numbers(row: Mapping[str, float]) -> str:
        sides = (
            f"{name} {_said('accuracy', row.get(f'{split}/accuracy'))}, {_said('loss', row.get(f'{split}/loss'))}"
            for split, name in reversed(NAMES.items())
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
    keys = [f"{split}/{quantity}" for split in NAMES for quantity in UNITS]
    gaps = {key: int(np.isnan(_column(history, key)).sum()) for key in keys}
    if any(gaps.values()):
        said = ", ".join(f"{key} in {count} of {len(history)} epochs" for key, count in gaps.items() if count)
        sentences.append(f"Gaps, where a number is not finite: {said}")
    return ". ".join(sentences) + "."
