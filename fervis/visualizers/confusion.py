"""Confusion matrices by true class, and the metrics of each class, for a paper's text width.

Several checkpoints stand side by side on one scale, 0 to 100 % of the true class; of two, their difference is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fervis.core.intervals import Interval, format_interval
from fervis.core.results import Confusion, Explanation, Figure
from fervis.errors import ConfigError, nearest_name
from fervis.metrics.classifier.confusion import best_and_worst, largest_confusions
from fervis.visualizers.figures import canvas
from fervis.visualizers.figures.confusion_difference import LabelledMatrix, compare_matrices, largest_differences
from fervis.visualizers.figures.confusion_matrix import matrix, shares_of
from fervis.visualizers.figures.per_class import per_class_sheet

SHOW_CHOICES = ("share", "counts", "both")
INTERVAL_CHOICES = ("none", "diagonal", "all")
DRAWN_METRICS = {"accuracy": "accuracy", "macro_f1": "macro-F1", "ece": "calibration error"}


@dataclass
class ConfusionFigures:
    """Draws confusion matrices.

    Attributes:
        dpi: dots an inch.
        show: what a cell says: ``share`` (per cent of the true class), ``counts`` (faces) or ``both``.
        intervals: in which cells the 95 % interval of the share is written: ``diagonal``, ``all`` or ``none``.
        confusions: how many of the largest confusions are named under the matrix.
    """

    dpi: int = 300
    show: str = "both"
    intervals: str = "diagonal"
    confusions: int = 3
    kind: ClassVar[str] = Confusion.kind

    def __post_init__(self) -> None:
        for name, known in (("show", SHOW_CHOICES), ("intervals", INTERVAL_CHOICES)):
            if (value := getattr(self, name)) not in known:
                hint = nearest_name(value, known)
                raise ConfigError(f"visualizer.{name}={value}: expected {', '.join(known[:-1])} or {known[-1]}.{hint}")
        for name, low, high in (("dpi", 30, 1200), ("confusions", 0, 20)):
            if not low <= getattr(self, name) <= high:
                raise ConfigError(f"visualizer.{name}={getattr(self, name)}: expected a number from {low} to {high}.")

    def draw(self, explanation: Explanation, folder: Path) -> list[Figure]:
        """Write ``confusion.png`` and ``per_class.png`` into ``folder``."""
        result: Confusion = explanation.result
        names = _panel_names(explanation)
        all_of = f"{explanation.model} on {explanation.dataset}, {result.split}"
        drawn = [self._counted(result, index, name, explanation.classes) for index, name in enumerate(names)]
        metrics = result.metrics
        with canvas.plain_style():
            canvas.save_figure(self._matrices(drawn, explanation.classes, all_of), folder / "confusion.png", self.dpi)
            sheet = per_class_sheet(
                [table["per_class"] for table in metrics],
                names,
                explanation.classes,
                title=f"{all_of}: each class",
                said=[f"{_comparison_sentence(table, 'accuracy')}, {_other_checkpoints(table)}" for table in metrics],
                dpi=self.dpi,
            )
            canvas.save_figure(sheet, folder / "per_class.png", self.dpi)
        return [
            Figure(folder / "confusion.png", _confusion_caption(drawn, explanation.classes, all_of)),
            Figure(folder / "per_class.png", _caption_of_classes(metrics, names, explanation.classes, all_of)),
        ]

    def _matrices(self, drawn: list[LabelledMatrix], classes: tuple[str, ...], title: str) -> canvas.Sheet:
        if len(drawn) > 1:
            return compare_matrices(drawn, classes, title=title, dpi=self.dpi, show=self.show, intervals=self.intervals)
        one = drawn[0]
        return matrix(
            one.counts,
            classes,
            title=title,
            intervals=None if self.intervals == "none" else one.intervals,
            dpi=self.dpi,
            show=self.show,
            everywhere=self.intervals == "all",
            subtitle=f"{one.said}, {one.words[0]}",
            words=one.words[1:],
        )

    def _counted(self, result: Confusion, index: int, name: str, classes: tuple[str, ...]) -> LabelledMatrix:
        counts = result.counts[index].cpu().numpy()
        low, high = (end[index].cpu().double().numpy() for end in (result.low, result.high))
        cells = shares_of(counts), low, high, classes
        words = [sentence for _, _, sentence in largest_confusions(*cells, most=self.confusions)]
        said_of, metrics = " and ".join(best_and_worst(*cells)), result.metrics[index]
        lines = [_other_checkpoints(metrics), f"{said_of[:1].upper()}{said_of[1:]}."]
        lines += [f"Most confused: {'; '.join(words)}."] if words else []
        intervals: NDArray[Any] = np.stack([low, high], -1)
        return LabelledMatrix(name, _comparison_sentence(metrics, "accuracy"), counts, intervals, lines)


def _panel_names(explanation: Explanation) -> list[str]:
    """What tells the entries apart: ``checkpoint best``, or the network's name where there is only one."""
    if not explanation.several_checkpoints:
        return [explanation.model] * len(explanation.targets)
    return [f"checkpoint {name}" for name in explanation.checkpoints]


def _comparison_sentence(metrics: dict[str, Any], name: str) -> str:
    """``accuracy 68.7 % [67.2, 70.2]``."""
    number = Interval.of_table(metrics[name]).informative.percent
    return f"{DRAWN_METRICS[name]} {format_interval(number, '.1f', unit=' %', missing='nan %')}"


def _other_checkpoints(metrics: dict[str, Any]) -> str:
    return (
        f"{_comparison_sentence(metrics, 'macro_f1')}, {_comparison_sentence(metrics, 'ece')} ({metrics['n']:,} faces)"
    )


def _confusion_caption(drawn: list[LabelledMatrix], classes: tuple[str, ...], title: str) -> str:
    several = len(drawn) > 1
    sentences = [
        f"{title}. Confusion matrix: rows are true classes, columns predicted ones, each row in per cent of its faces"
    ]
    for one in drawn:
        begin = f"{one.name}: {one.said}" if several else one.said
        sentences.append(f"{begin[:1].upper()}{begin[1:]}, {one.words[0]}")
        sentences += [text.rstrip(".") for text in one.words[1:]]
    if len(drawn) == 2:
        differing = largest_differences(drawn[0], drawn[1], classes)
        if differing:
            sentences.append(f"Largest differences, {drawn[0].name} less {drawn[1].name}: {', '.join(differing)}")
    return ". ".join(sentences) + "."


def _caption_of_classes(
    metrics: tuple[dict[str, Any], ...], names: list[str], classes: tuple[str, ...], title: str
) -> str:
    sentences = [f"{title}. Recall, precision and F1 of each class with 95 % intervals"]
    for table, name in zip(metrics, names, strict=True):
        f1 = {label: table["per_class"][label]["f1"]["value"] for label in classes}
        values = ", ".join(f"{label} {100 * value:.1f}" for label, value in f1.items() if value is not None)
        sentences.append(f"F1 of {name} in per cent: {values}")
    return ". ".join(sentences) + "."
