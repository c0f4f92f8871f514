"""Outputs of a layer's filters with the face they are of, and how their numbers change with depth.

Black is zero and below, in every figure. A sheet has one scale for all filters, or one for each, and several
checkpoints of one face and layer always share it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
import torch

from fervis.core.intervals import format_interval
from fervis.core.knobs import Range
from fervis.core.results import Explanation, FeatureMaps, Figure
from fervis.system.progress import progress
from fervis.visualizers.figures.canvas import Sheet
from fervis.visualizers.figures.color import Colormap, Scale
from fervis.visualizers.figures.feature_map_sheet import FeatureMapSheet, feature_maps_of, label_of
from fervis.visualizers.figures.figure_writer import Dpi, FigureLimit, FigureWriter, MapScale
from fervis.visualizers.figures.line_panels import draw_trends, layer_series, series_note

MEASURE_NAMES = {
    "black": "black (part at or below 0)",
    "sparsity": "sparsity (0 even to 1 one point)",
    "similarity": "similarity of filters (|r|)",
    "sharpness": "sharpness (cycles per face)",
    "roughness": "roughness (1: as white noise)",
    "face_visible": "face visible (|r|)",
}
OTHER_FACES = {"face_visible": ("face_chance", "other faces")}


@dataclass
class FeatureMapsSheet:
    """Draws the outputs of filters.

    Attributes:
        dpi: dots per inch.
        colormap: matplotlib's name of the colours; the first is zero and below.
        scale: ``own`` (each filter from 0 to its own maximum) or ``shared`` (one scale for all filters of a sheet).
        clip: percentile of the values that gets the last colour, in [50, 100].
        max_single: a run of more sheets draws the first faces, whole, up to so many (at least one face; 0: none), and
            the trend of all.
    """

    dpi: Dpi = 300
    colormap: Colormap = "gray"
    scale: MapScale = "own"
    clip: Annotated[float, Range(50, 100)] = 100.0
    max_single: FigureLimit = 16
    kind: ClassVar[str] = FeatureMaps.kind

    def draw(self, explanation: Explanation, folder: Path) -> list[Figure]:
        """Write ``trend.png`` (several layers, or more sheets than are drawn) and ``<row>_<layer>.png`` per sheet.

        Where checkpoints are compared, that sheet shows them side by side, and ``<row>_<layer>_<checkpoint>.png`` each
        of them alone on the same scale.
        """
        faces: dict[int, dict[str, list[int]]] = {}
        for entry, (row, layer) in enumerate(zip(explanation.faces.rows.tolist(), explanation.layers, strict=True)):
            faces.setdefault(row, {}).setdefault(layer, []).append(entry)
        layers = list(dict.fromkeys(explanation.layers))
        sheets = sum(len(entries) + (len(entries) > 1) for entries in next(iter(faces.values())).values())
        drawn = list(faces.items())[: max(1, self.max_single // sheets) if self.max_single else 0]
        with FigureWriter(folder, self.dpi, reserved={"trend"}) as writer:
            if explanation.means and (len(layers) > 1 or len(drawn) < len(faces)):
                writer.save(*self.trend(explanation, layers))
            for row, groups in drawn:
                for layer, entries in progress(groups.items(), f"drawing {row}", "sheet"):
                    scales = self.scales(explanation, entries)
                    self._save(writer, explanation, entries, scales, writer.name(row, layer))
                    for entry in entries if len(entries) > 1 else ():
                        name = writer.name(row, layer, explanation.checkpoints[entry])
                        self._save(writer, explanation, [entry], scales, name)
        return writer.figures

    def scales(self, explanation: Explanation, entries: Sequence[int]) -> list[Scale]:
        """Return a scale for each filter, from black to the maximum over these entries: its own, or that of all."""
        maps = torch.stack([feature_maps_of(explanation).outputs[entry] for entry in entries], 1).flatten(1).numpy()
        groups = maps if self.scale == "own" else maps.reshape(1, -1)
        tops = [max(0.0, float(np.percentile(group, self.clip)) or float(group.max())) for group in groups]
        tops = tops if self.scale == "own" else tops * len(maps)
        return [Scale(0.0, top, False, float(row.min()), float(row.max())) for top, row in zip(tops, maps, strict=True)]

    def _save(
        self, writer: FigureWriter, explanation: Explanation, entries: Sequence[int], scales: list[Scale], name: str
    ) -> None:
        sheet = FeatureMapSheet(explanation, entries, scales, self.colormap, self.scale == "own", self.clip)
        writer.save(sheet.draw(self.dpi), name, _sheet_caption(explanation, entries))

    def trend(self, explanation: Explanation, layers: list[str]) -> tuple[Sheet, str, str]:
        """Draw the means over faces by layer with their intervals: sheet, name, caption."""
        trends = layer_series(explanation, MEASURE_NAMES, OTHER_FACES)
        checkpoints = list(dict.fromkeys(explanation.checkpoints)) or [""]
        faces = explanation.means_over
        title = f"Outputs by layer · {explanation.model} on {explanation.dataset}"
        note = f"mean over {faces:,} face{'s' * (faces > 1)}" + " with its 95 % bootstrap interval" * (faces > 1)
        filters = max(map(len, feature_maps_of(explanation).filters))
        note = "; ".join(
            part for part in (note, f"up to {filters} filters per layer", series_note(checkpoints)) if part
        )
        sheet = draw_trends(trends, layers, title=title, note=note, dpi=self.dpi)
        several = len(checkpoints) > 1
        sentences = [
            f"{trend.name}{f' at checkpoint {name}' * several}: "
            f"{format_interval(values[0], missing='none')} at {layers[0]}"
            + f", {format_interval(values[-1], missing='none')} at {layers[-1]}"
            * (len(layers) > 1)
            for trend in trends
            for name, values in trend.series.items()
        ]
        return sheet, "trend", f"{title}, {note}. " + "; ".join(sentences) + "."


def _sheet_caption(explanation: Explanation, entries: Sequence[int]) -> str:
    result, first = feature_maps_of(explanation), entries[0]
    sentences = [
        f"Outputs of {len(result.filters[first])} filters of {explanation.layers[first]} of {explanation.model} for "
        f"face {int(explanation.faces.rows[first])} of {explanation.dataset}, labelled "
        f"{label_of(explanation, first)}"
    ]
    for entry in entries:
        black, filters = result.black[entry], result.filters[entry]
        named = f"Checkpoint {explanation.checkpoints[entry]}: " if explanation.several_checkpoints else ""
        known = {name: float(values[entry]) for name, values in result.numbers.items() if values[entry].isfinite()}
        sentences.append(
            f"{named}{float(black.mean()):.1%} is black (at or below zero), from {float(black.min()):.0%} of filter "
            f"{filters[int(black.argmin())]} to {float(black.max()):.0%} of filter {filters[int(black.argmax())]}; "
            + ", ".join(f"{name} {value:.2f}" for name, value in known.items())
        )
    return ". ".join(sentences) + "."
