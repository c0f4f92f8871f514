"""Clusters of explanations: a row per cluster, with its mean map, its most typical faces and their maps under these.

All lengths are in inches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np

from fervis.core.intervals import format_number
from fervis.core.knobs import Range
from fervis.core.results import Explanation, ExplanationClusters, Figure
from fervis.visualizers.figures import canvas
from fervis.visualizers.figures.canvas import Sheet
from fervis.visualizers.figures.color import Colormap, colorize, scale_of, to_rgb
from fervis.visualizers.figures.figure_writer import Dpi, FigureWriter
from fervis.visualizers.figures.style import FAINT_COLOR, MARGIN, TEXT_WIDTH

CLUSTER_TOP = 0.44
CLUSTER_NAMES = 0.95  # the column of names and numbers
CLUSTER_COLUMNS = 8  # faces in a row
CLUSTER_GAP = 0.06
CLUSTER_ROWS = 5  # clusters per sheet
CLUSTER_LARGEST = 0.62  # side of a face


@dataclass
class ClustersSheet:
    """Draws clusters of explanations.

    Attributes:
        dpi: dots per inch.
        colormap: of magnitudes.
        diverging: of signed maps.
        clip: the last colour is this percentile of the values of a row.
    """

    dpi: Dpi = 300
    colormap: Colormap = "inferno"
    diverging: Colormap = "cividis"
    clip: Annotated[float, Range(50, 100)] = 99.0
    kind: ClassVar[str] = ExplanationClusters.kind

    def draw(self, explanation: Explanation, folder: Path) -> list[Figure]:
        """Write ``<layer>.png`` per layer and checkpoint, or ``<layer>_1.png`` and on where it fills several sheets."""
        with FigureWriter(folder, self.dpi) as writer:
            for (layer, checkpoint), entries in explanation.entries_by_layer().items():
                named = [layer, checkpoint] if explanation.several_checkpoints else [layer]
                pages = [entries[start : start + CLUSTER_ROWS] for start in range(0, len(entries), CLUSTER_ROWS)]
                for number, page in enumerate(pages, 1):
                    part = [number] if len(pages) > 1 else []
                    sheet = self.sheet(explanation, page, " · ".join(named))
                    writer.save(sheet, writer.name(*named, *part), _cluster_caption(explanation, page, named))
        return writer.figures

    def sheet(self, explanation: Explanation, entries: Sequence[int], name: str) -> Sheet:
        """Draw some clusters of one layer."""
        result: ExplanationClusters = explanation.result
        shown = min(result.rows.shape[1], CLUSTER_COLUMNS)
        side = min(CLUSTER_LARGEST, (TEXT_WIDTH - 2 * MARGIN - CLUSTER_NAMES) / (shown + 1) - CLUSTER_GAP - 0.02)
        step = 2 * side + 0.28
        sheet = canvas.new_figure(TEXT_WIDTH, CLUSTER_TOP + step * len(entries), self.dpi)
        canvas.add_heading(sheet, f"Clusters of explanations at {name} · {explanation.model} on {explanation.dataset}")
        note = (
            "left: the mean of a cluster's maps, each divided by its sum of magnitudes; then the faces nearest to it, "
            "with their maps and rows; each row on its own scale"
        )
        room = TEXT_WIDTH - 2 * MARGIN
        canvas.add_text(sheet, MARGIN, 0.19, note, room=room, size=6.5, color=FAINT_COLOR)
        for line, entry in enumerate(entries):
            self._cluster(sheet, explanation, entry, CLUSTER_TOP + line * step, side)
        return sheet

    def _cluster(self, sheet: Sheet, explanation: Explanation, entry: int, top: float, side: float) -> None:
        result: ExplanationClusters = explanation.result
        for position, (text, style) in enumerate(_cluster_words(explanation, entry)):
            canvas.add_text(sheet, MARGIN, top + 0.13 * position, text, room=CLUSTER_NAMES - 0.06, size=6.5, **style)
        mean = result.mean_maps[entry].numpy()
        known = [number for number in range(result.rows.shape[1]) if int(result.rows[entry, number]) >= 0]
        maps = result.maps[entry].numpy()[known[:CLUSTER_COLUMNS]]
        signed = bool(min(mean.min(), maps.min()) < 0)
        colormap = self.diverging if signed else self.colormap
        scale = scale_of(maps, signed=signed, percentile=self.clip)
        left = MARGIN + CLUSTER_NAMES
        own = scale_of(mean, signed=signed, percentile=self.clip)
        canvas.add_image(sheet, left, top + side / 2, side, colorize(mean, own, colormap))
        for number in known[:CLUSTER_COLUMNS]:
            x = left + (number + 1) * (side + CLUSTER_GAP) + CLUSTER_GAP
            canvas.add_image(sheet, x, top, side, to_rgb(result.images[entry, number]))
            canvas.add_image(sheet, x, top + side + 0.03, side, colorize(maps[number], scale, colormap))
            style: dict[str, Any] = {"size": 5.5, "ha": "center", "room": side}
            canvas.add_text(sheet, x + side / 2, top + 2 * side + 0.045, str(int(result.rows[entry, number])), **style)


def _cluster_words(explanation: Explanation, entry: int) -> list[tuple[str, dict[str, Any]]]:
    """Return the lines at the left of a cluster."""
    result, faint = explanation.result, {"color": FAINT_COLOR}
    share, accuracy, gap = (float(getattr(result, name)[entry]) for name in ("share", "accuracy", "gap"))
    lines: list[tuple[str, dict[str, Any]]] = [(explanation.targets[entry], {"fontweight": "bold"})]
    lines.append((f"{int(result.size[entry])} faces, {format_number(100 * share, '.0f')} %", {}))
    if np.isfinite(accuracy):
        lines.append((f"right: {format_number(100 * accuracy, '.0f')} %", faint))
    if np.isfinite(gap):
        lines.append((f"eigengap {format_number(gap)}", faint))
    return lines


def _cluster_caption(explanation: Explanation, entries: Sequence[int], named: Sequence[str]) -> str:
    result: ExplanationClusters = explanation.result
    parts = []
    for entry in entries:
        accuracy = float(result.accuracy[entry])
        right = f", {100 * accuracy:.0f} % predicted right" if np.isfinite(accuracy) else ""
        share = 100 * float(result.share[entry])
        parts.append(f"{explanation.targets[entry]}: {int(result.size[entry])} faces ({share:.0f} %{right})")
    return (
        f"Clusters of the explanations of each class's faces at {' at '.join(named)} of {explanation.model} on "
        f"{explanation.dataset}. {'; '.join(parts)}."
    )
