"""Confused faces: what hiding each region does to the margin of two classes, and the faces on which it does most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np

from fervis.core.knobs import Range, Whole
from fervis.core.results import Explanation, Figure, RegionContrasts
from fervis.visualizers.figures.color import Colormap
from fervis.visualizers.figures.contrast.effects import confused_heading, draw_effects_sheet, entries_by_group
from fervis.visualizers.figures.contrast.faces import ContrastStyle, draw_faces_sheet
from fervis.visualizers.figures.figure_writer import Dpi, FigureWriter


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
        style = ContrastStyle(self.dpi, self.diverging, self.opacity)
        with FigureWriter(folder, self.dpi) as writer:
            for (layer, checkpoint), entries in explanation.entries_by_layer().items():
                named = [checkpoint] if explanation.several_checkpoints else []
                if checkpoint not in drawn:  # the effects are the same at every layer
                    drawn.add(checkpoint)
                    sheet = draw_effects_sheet(explanation, entries, named, self.dpi)
                    writer.save(sheet, writer.name("regions", *named), _confused_caption(explanation, entries, named))
                if strongest := self._strongest(explanation.result, entries):
                    sheet = draw_faces_sheet(explanation, strongest, layer, named, style)
                    caption = _faces_caption(explanation, strongest, layer, named)
                    writer.save(sheet, writer.name("faces", layer, *named), caption)
        return writer.figures

    def _strongest(self, result: RegionContrasts, entries: Sequence[int]) -> list[int]:
        """Return the entries of the confused faces with most effect beyond random patches, for either class."""
        (of_cell, *_) = entries_by_group(result, entries).values()
        known = [entry for entry in of_cell if np.isfinite(float(result.values["beyond"][entry]))]
        ordered = sorted(known, key=lambda entry: float(result.values["beyond"][entry]))
        below = ordered[: (self.regions + 1) // 2]
        above = [entry for entry in ordered[::-1][: self.regions // 2] if entry not in below]
        return [*below, *above]


def _confused_caption(explanation: Explanation, entries: Sequence[int], named: Sequence[str]) -> str:
    result: RegionContrasts = explanation.result
    said = [result.sentences[entry] for entry in entries if result.sentences[entry]]
    return f"{confused_heading(explanation, entries, named)}. {' '.join(said)}"


def _faces_caption(explanation: Explanation, strongest: Sequence[int], layer: str, named: Sequence[str]) -> str:
    result: RegionContrasts = explanation.result
    listed = [f"{result.regions[entry].replace('_', ' ')}: {_flipped_rows(result, entry)}" for entry in strongest]
    target, heading = result.pairs[strongest[0]][0], confused_heading(explanation, strongest, named)
    what = f"faces on which hidden regions have most effect, with contrast maps at {layer}"
    return f"{heading}: {what}. Faces that flip to {target} without the region: {'; '.join(listed)}."


def _flipped_rows(result: RegionContrasts, entry: int) -> str:
    rows = result.flipped[entry].tolist()
    return ", ".join(map(str, rows)) if rows else "none"
