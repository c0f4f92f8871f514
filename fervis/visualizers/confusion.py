"""Confusion matrices by true class, and the metrics of each class, for a paper's text width.

Several checkpoints stand side by side on one scale, 0 to 100 % of the true class; of two, their difference is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fervis.core.intervals import Interval, format_interval
from fervis.core.knobs import Choice, Whole
from fervis.core.results import Confusion, Explanation, Figure
from fervis.metrics.classifier.confusion import best_and_worst, largest_confusions
from fervis.visualizers.figures.canvas import Sheet
from fervis.visualizers.figures.confusion_difference import LabelledMatrix, compare_matrices, largest_differences
from fervis.visualizers.figures.confusion_matrix import matrix
from fervis.visualizers.figures.figure_writer import Dpi, FigureWriter
from fervis.visualizers.figures.matrix_cells import shares_of
from fervis.visualizers.figures.per_class import per_class_sheet

DRAWN_METRICS = {"accuracy": "accuracy", "macro_f1": "macro-F1", "ece": "calibration error"}


@dataclass
class ConfusionFigures:
    """Draws confusion matrices.

    Attributes:
        dpi: dots per inch.
        show: what a cell contains: ``share`` (per cent of the true class), ``counts`` (faces) or ``both``.
        intervals: in which cells the 95 % interval of the share is written: ``diagonal``, ``all`` or ``none``.
        confusions: how many of the largest confusions are named under the matrix.
    """

    dpi: Dpi = 300
    show: Annotated[str, Choice("share", "counts", "both")] = "both"
    intervals: Annotated[str, Choice("none", "diagonal", "all")] = "diagonal"
    confusions: Annotated[int, Whole(0, 20)] = 3
    kind: ClassVar[str] = Confusion.kind

    def draw(self, explanation: Explanation, folder: Path) -> list[Figure]:
        """Write ``confusion.png`` and ``per_class.png`` into ``folder``."""
        result: Confusion = explanation.result
        names = _panel_names(explanation)
        all_of = f"{explanation.model} on {explanation.dataset}, {result.split}"
        matrices = [self._labelled(result, index, name, explanation.classes) for index, name in enumerate(names)]
        metrics = result.metrics
        with FigureWriter(folder, self.dpi) as writer:
            caption = _confusion_caption(matrices, explanation.classes, all_of)
            writer.save(self._matrices(matrices, explanation.classes, all_of), "confusion", caption)
            sheet = per_class_sheet(
                [table["per_class"] for table in metrics],
                names,
                explanation.classes,
                title=f"{all_of}: each class",
                notes=[f"{_metric_text(table, 'accuracy')}, {_other_metrics(table)}" for table in metrics],
                dpi=self.dpi,
            )
            writer.save(sheet, "per_class", _per_class_caption(metrics, names, explanation.classes, all_of))
        return writer.figures

    def _matrices(self, matrices: list[LabelledMatrix], classes: tuple[str, ...], title: str) -> Sheet:
        if len(matrices) > 1:
            return compare_matrices(
                matrices, classes, title=title, dpi=self.dpi, show=self.show, intervals=self.intervals
            )
        (single,) = matrices
        return matrix(
            single.counts,
            classes,
            title=title,
            intervals=None if self.intervals == "none" else single.intervals,
            dpi=self.dpi,
            show=self.show,
            everywhere=self.intervals == "all",
            subtitle=f"{single.accuracy}, {single.notes[0]}",
            words=single.notes[1:],
        )

    def _labelled(self, result: Confusion, index: int, name: str, classes: tuple[str, ...]) -> LabelledMatrix:
        counts = result.counts[index].cpu().numpy()
        low, high = (end[index].cpu().double().numpy() for end in (result.low, result.high))
        cells = shares_of(counts), low, high, classes
        confused = [sentence for _, _, sentence in largest_confusions(*cells, most=self.confusions)]
        extremes, metrics = " and ".join(best_and_worst(*cells)), result.metrics[index]
        notes = [_other_metrics(metrics), f"{extremes[:1].upper()}{extremes[1:]}."]
        notes += [f"Most confused: {'; '.join(confused)}."] if confused else []
        intervals: NDArray[Any] = np.stack([low, high], -1)
        return LabelledMatrix(name, _metric_text(metrics, "accuracy"), counts, intervals, notes)


def _panel_names(explanation: Explanation) -> list[str]:
    """Name the entries by what differs: ``checkpoint best``, or the network's name where there is only one."""
    if not explanation.several_checkpoints:
        return [explanation.model] * len(explanation.targets)
    return [f"checkpoint {name}" for name in explanation.checkpoints]


def _metric_text(metrics: dict[str, Any], name: str) -> str:
    """Format a metric as ``accuracy 68.7 % [67.2, 70.2]``."""
    number = Interval.of_table(metrics[name]).informative.percent
    return f"{DRAWN_METRICS[name]} {format_interval(number, '.1f', unit=' %', missing='nan %')}"


def _other_metrics(metrics: dict[str, Any]) -> str:
    return f"{_metric_text(metrics, 'macro_f1')}, {_metric_text(metrics, 'ece')} ({metrics['n']:,} faces)"


def _confusion_caption(matrices: list[LabelledMatrix], classes: tuple[str, ...], title: str) -> str:
    sentences = [
        f"{title}. Confusion matrix: rows are true classes, columns predicted ones, each row in per cent of its faces"
    ]
    for matrix_of in matrices:
        begin = f"{matrix_of.name}: {matrix_of.accuracy}" if len(matrices) > 1 else matrix_of.accuracy
        sentences.append(f"{begin[:1].upper()}{begin[1:]}, {matrix_of.notes[0]}")
        sentences += [text.rstrip(".") for text in matrix_of.notes[1:]]
    if len(matrices) == 2 and (differing := largest_differences(matrices[0], matrices[1], classes)):
        first, second = (matrix_of.name for matrix_of in matrices)
        sentences.append(f"Largest differences, {first} less {second}: {', '.join(differing)}")
    return ". ".join(sentences) + "."


def _per_class_caption(
    metrics: tuple[dict[str, Any], ...], names: list[str], classes: tuple[str, ...], title: str
) -> str:
    sentences = [f"{title}. Recall, precision and F1 of each class with 95 % intervals"]
    for table, name in zip(metrics, names, strict=True):
        f1 = {label: table["per_class"][label]["f1"]["value"] for label in classes}
        values = ", ".join(f"{label} {100 * value:.1f}" for label, value in f1.items() if value is not None)
        sentences.append(f"F1 of {name} in per cent: {values}")
    return ". ".join(sentences) + "."
