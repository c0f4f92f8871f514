"""Scores of concepts: a panel per class, a bar per concept with its interval, and what random directions reach.

All lengths are in inches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from matplotlib.axes import Axes

from fervis.core.intervals import format_number
from fervis.core.results import ConceptScores, Explanation, Figure
from fervis.core.results.data_set_kinds import SIGNIFICANT
from fervis.visualizers.figures import canvas
from fervis.visualizers.figures.axes import add_axes
from fervis.visualizers.figures.canvas import Sheet
from fervis.visualizers.figures.figure_writer import Dpi, FigureWriter
from fervis.visualizers.figures.style import BLUE, FAINT_COLOR, GRID_COLOR, MARGIN, RED, TEXT_WIDTH

CONCEPT_NAMES = 1.32  # room for the names of the concepts with their accuracies
CONCEPT_ROW = 0.15
CONCEPT_TOP = 0.74
CONCEPT_GAP = 0.12
PANELS_ACROSS = 7


@dataclass
class ConceptScoresSheet:
    """Draws scores of concepts.

    Attributes:
        dpi: dots per inch.
    """

    dpi: Dpi = 300
    kind: ClassVar[str] = ConceptScores.kind

    def draw(self, explanation: Explanation, folder: Path) -> list[Figure]:
        """Write ``<layer>.png`` per layer and checkpoint."""
        with FigureWriter(folder, self.dpi) as writer:
            for (layer, checkpoint), entries in explanation.entries_by_layer().items():
                named = [layer, checkpoint] if explanation.several_checkpoints else [layer]
                sheet = self.sheet(explanation, entries, " · ".join(named))
                writer.save(sheet, writer.name(*named), _concept_caption(explanation, entries, " at ".join(named)))
        return writer.figures

    def sheet(self, explanation: Explanation, entries: Sequence[int], name: str) -> Sheet:
        """Draw the concepts of one layer."""
        result: ConceptScores = explanation.result
        count, classes = len(entries), result.classes
        lines = -(-len(classes) // PANELS_ACROSS)
        pitch = CONCEPT_ROW * count + 0.5
        sheet = canvas.new_figure(TEXT_WIDTH, CONCEPT_TOP + lines * pitch - 0.1, self.dpi)
        title = f"Concepts at {name} · {explanation.model} on {explanation.dataset}"
        canvas.add_heading(sheet, title)
        note = (
            "end of a bar: share of the class's faces whose logit rises along the concept, with its 95 % interval over "
            f"{result.scores.shape[1]} partitions; red: random directions;"
        )
        more = "pale: not significantly different from these (Welch's t-test, Bonferroni); %: accuracy on other images"
        for line, text in enumerate((note, more)):
            canvas.add_text(
                sheet, MARGIN, 0.19 + 0.115 * line, text, room=TEXT_WIDTH - 2 * MARGIN, size=6.5, color=FAINT_COLOR
            )
        across = min(len(classes), PANELS_ACROSS)
        width = (TEXT_WIDTH - CONCEPT_NAMES - MARGIN) / across - CONCEPT_GAP
        for number, class_name in enumerate(classes):
            left = CONCEPT_NAMES + number % across * (width + CONCEPT_GAP)
            top = CONCEPT_TOP + number // across * pitch
            canvas.add_text(sheet, left, top - 0.15, class_name, room=width + 0.08, size=7, fontweight="bold")
            axes = add_axes(sheet, left, top, width, CONCEPT_ROW * count)
            _draw_bars(axes, result, entries, number)
            if number % across == 0:
                self._names(sheet, explanation, entries, top)
        return sheet

    def _names(self, sheet: Sheet, explanation: Explanation, entries: Sequence[int], top: float) -> None:
        result: ConceptScores = explanation.result
        for line, entry in enumerate(entries):
            middle = top + (line + 0.5) * CONCEPT_ROW
            accuracy = format_number(100 * float(result.accuracy[entry]), ".0f")
            room = CONCEPT_NAMES - 0.5
            canvas.add_text(sheet, MARGIN, middle, explanation.targets[entry], room=room, va="center")
            style = {"size": 6.0, "color": FAINT_COLOR, "va": "center", "ha": "right"}
            canvas.add_text(sheet, CONCEPT_NAMES - 0.08, middle, f"{accuracy} %", room=0.4, **style)


def _draw_bars(axes: Axes, result: ConceptScores, entries: Sequence[int], number: int) -> None:
    """Draw the bars of one class."""
    for line, entry in enumerate(entries):
        mean, chance = float(result.means[entry, number]), float(result.random[entry, :, number].mean())
        significant = float(result.p_values[entry, number]) < SIGNIFICANT
        # From what random directions reach, so that a score of 0 is seen too.
        style = {"height": 0.62, "color": BLUE, "alpha": 1.0 if significant else 0.25, "linewidth": 0, "zorder": 2}
        axes.barh(line, mean - chance, left=chance, **style)
        ends = [float(result.low[entry, number]), float(result.high[entry, number])]
        axes.plot(ends, [line, line], color="black", linewidth=0.7, zorder=3, solid_capstyle="butt")
        axes.plot([chance, chance], [line - 0.42, line + 0.42], color=RED, linewidth=1.1, zorder=4)
    axes.axvline(0.5, color=GRID_COLOR, linewidth=0.5, zorder=1)
    axes.set_xlim(0, 1)
    axes.set_ylim(len(entries) - 0.5, -0.5)
    axes.set_yticks([])
    axes.set_xticks([0, 0.5, 1], ["0", "½", "1"])


def _concept_caption(explanation: Explanation, entries: Sequence[int], name: str) -> str:
    result: ConceptScores = explanation.result
    found = []
    for entry in entries:
        for number, class_name in enumerate(result.classes):
            if float(result.p_values[entry, number]) < SIGNIFICANT:
                mean = format_number(float(result.means[entry, number]), ".2f")
                found.append(f"{explanation.targets[entry]} for {class_name} {mean}")
    listed = f"Significant: {', '.join(found)}" if found else "None differs significantly from random directions"
    return (
        f"TCAV scores of {len(entries)} concepts at {name} of {explanation.model} on {explanation.dataset}: the share "
        f"of a class's faces whose logit rises along the concept's direction. {listed}."
    )
