"""Numbers over the epochs of a training, for a paper's text width: one panel per number, one line per layer.

Layers are coloured in their order, darker for deeper, by a map whose brightness is monotone, so that they keep their
order in grey; what belongs to no layer is black. Shaded are the 95 % intervals over faces. All lengths are in inches.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex

from fervis.core.intervals import format_number
from fervis.core.results import Explanation, Figure, Progress
from fervis.errors import RunError
from fervis.visualizers.figures import canvas
from fervis.visualizers.figures.axes import add_axes, add_legend_key, epoch_ticks, y_ticks
from fervis.visualizers.figures.canvas import Sheet
from fervis.visualizers.figures.color import Colormap
from fervis.visualizers.figures.figure_writer import Dpi, FigureWriter
from fervis.visualizers.figures.style import MARKED_LINE, TEXT_WIDTH

PROGRESS_LEFTS = (0.4, 2.56, 4.72)
PROGRESS_PANEL = (1.7, 1.25)
PROGRESS_ROW = 1.82  # from a panel's top to that of the one below
NETWORK_SERIES = "network"
PALEST = 0.88  # of the colour map: the rest of viridis is too bright for a line on white
LEGEND_COLUMNS = 8  # layers' names per line
MOST_KEYS = 32
PANEL_TITLES = {
    "cka": "linear CKA to the last epoch",
    "dead": "dead filters (%)",
    "black": "black outputs (%)",
    "accuracy": "accuracy on these faces (%)",
    "train/loss": "training loss (nats per face)",
    "val/accuracy": "validation accuracy (%)",
}


@dataclass
class ProgressFigure:
    """Draws what changes over a training.

    Attributes:
        dpi: dots per inch.
        colormap: matplotlib's name of the layers' colours.
    """

    dpi: Dpi = 300
    colormap: Colormap = "viridis"
    kind: ClassVar[str] = Progress.kind

    def draw(self, explanation: Explanation, folder: Path) -> list[Figure]:
        """Write ``progress.png``.

        Raises:
            RunError: there is no finite number to draw.
        """
        progress, layers = _once(explanation)
        title = f"What changes over the training of {explanation.model} on {explanation.dataset}"
        with FigureWriter(folder, self.dpi) as writer:
            writer.save(self.sheet(progress, layers, title), "progress", _progress_caption(progress, layers, title))
        return writer.figures

    def sheet(self, progress: Progress, layers: tuple[str, ...], title: str) -> Sheet:
        """Draw the sheet that ``draw`` saves."""
        names = [name for name, values in progress.values.items() if values.isfinite().any()]
        if not names:
            raise RunError("visualizer=progress: no number of any epoch is finite.")
        inner = [entry for entry, layer in enumerate(layers) if layer != NETWORK_SERIES]
        keys = inner[:: -(-len(inner) // MOST_KEYS) or 1]
        top = 0.42 + 0.14 * -(-len(keys) // LEGEND_COLUMNS) + 0.2
        sheet = canvas.new_figure(
            TEXT_WIDTH, top + PROGRESS_ROW * -(-len(names) // len(PROGRESS_LEFTS)) - 0.14, self.dpi
        )
        canvas.add_heading(sheet, title)
        epochs = progress.epochs
        note = f"epochs {epochs[0]} to {epochs[-1]}, {len(epochs)} of them · shaded: 95 % intervals over faces"
        canvas.add_text(sheet, 0.04, 0.185, note, room=TEXT_WIDTH - 0.08)
        styles = {entry: self._line_style(layer, entry, inner) for entry, layer in enumerate(layers)}
        for index, entry in enumerate(keys):
            line, column = divmod(index, LEGEND_COLUMNS)
            add_legend_key(sheet, 0.1 + 0.8 * column, 0.44 + 0.14 * line, styles[entry], layers[entry], room=0.47)
        for index, name in enumerate(names):
            line, column = divmod(index, len(PROGRESS_LEFTS))
            _progress_panel(sheet, PROGRESS_LEFTS[column], top + PROGRESS_ROW * line, progress, name, styles)
        return sheet

    def _line_style(self, layer: str, entry: int, inner: list[int]) -> dict[str, Any]:
        if layer == NETWORK_SERIES:
            return {"color": "black"}
        depth = inner.index(entry) / max(1, len(inner) - 1)
        return {"color": to_hex(colormaps[self.colormap](PALEST * (1 - depth)))}


def _progress_panel(
    sheet: Sheet, left: float, top: float, progress: Progress, name: str, styles: dict[int, dict[str, Any]]
) -> None:
    axes = add_axes(sheet, left, top, *PROGRESS_PANEL, grid="y")
    epochs = np.array(progress.epochs, np.float64)
    factor = 100 if _is_share(name) else 1
    values, low, high = (factor * part[name].numpy() for part in (progress.values, progress.low, progress.high))
    line: dict[str, Any] = MARKED_LINE | {"marker": "o" if len(epochs) <= 12 else "", "markersize": 1.8}
    for entry, own in styles.items():
        if np.isfinite(values[entry]).any():
            axes.fill_between(epochs, low[entry], high[entry], color=own["color"], alpha=0.18, linewidth=0)
            axes.plot(epochs, values[entry], clip_on=False, **line | own)
    everything = np.concatenate([values.ravel(), low.ravel(), high.ravel()])
    ticks, labels = y_ticks(np.append(everything, (0, 1) if name == "cka" else (0, 5) if name == "dead" else ()))
    axes.set_ylim(ticks[0], ticks[-1])
    axes.set_yticks(ticks, labels)
    margin = 0.02 * (epochs[-1] - epochs[0])
    axes.set_xlim(epochs[0] - margin, epochs[-1] + margin)
    axes.set_xticks(epoch_ticks(progress.epochs[0], progress.epochs[-1]))
    axes.set_xlabel("epoch", fontsize=7, labelpad=2)
    canvas.add_text(
        sheet, left - 0.3, top - 0.06, PANEL_TITLES.get(name, name), room=PROGRESS_PANEL[0] + 0.3, va="bottom"
    )


def _once(explanation: Explanation) -> tuple[Progress, tuple[str, ...]]:
    """Return the entries, each layer once: a training is the same whichever of its checkpoints the run names."""
    progress = explanation.result
    assert isinstance(progress, Progress)
    first = [entry for entry, layer in enumerate(explanation.layers) if layer not in explanation.layers[:entry]]
    values, low, high = (
        {name: rows[first] for name, rows in part.items()} for part in (progress.values, progress.low, progress.high)
    )
    return Progress(progress.epochs, values, low, high), tuple(explanation.layers[entry] for entry in first)


def _is_share(name: str) -> bool:
    return name in ("dead", "black") or name.endswith("accuracy")


def _progress_caption(progress: Progress, layers: tuple[str, ...], title: str) -> str:
    """Describe each number at the first and the last epoch: the network's own, or the range over the layers."""
    first, last = progress.epochs[0], progress.epochs[-1]
    sentences = [f"{title}, epochs {first} to {last}: one panel per number, one line per layer"]
    for name, values in progress.values.items():
        ends = [f"{_value_range(values[:, at].numpy(), layers, name)} at epoch {progress.epochs[at]}" for at in (0, -1)]
        what = PANEL_TITLES.get(name, name).removesuffix(" (%)")
        sentences.append(f"{what[0].upper()}{what[1:]}: {', '.join(ends)}")
    return ". ".join(sentences) + "."


def _value_range(values: np.ndarray, layers: tuple[str, ...], name: str) -> str:
    known = [(float(value), layer) for value, layer in zip(values, layers, strict=True) if np.isfinite(value)]

    def format_value_of(value: float) -> str:
        return f"{100 * value:.1f} %" if _is_share(name) else format_number(value)

    if not known:
        return "not known"
    (least, lowest), (most, highest) = min(known), max(known)
    if len(known) == 1 or least == most:
        return format_value_of(least)
    return f"{format_value_of(least)} ({lowest}) to {format_value_of(most)} ({highest})"
