"""The tables of a model card: an evaluation's report as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fervis.metrics.classifier.evaluation import PER_CLASS

SPLIT_NAMES = {"fer2013": {"train": "Training", "val": "PublicTest", "test": "PrivateTest"}}
"""A data set's own names of the splits."""

DASH = "\N{EN DASH}"

_PERCENT = ("accuracy", "macro_f1")
_RESULT_COLUMNS = {
    "accuracy": "accuracy, %",
    "macro_f1": "macro-F1, %",
    "ece": "ECE",
    "nll": "NLL, nats",
    "brier": "Brier",
}


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table; a bar inside a cell is escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def interval_text(metric: Mapping[str, Any], *, percent: bool) -> str:
    """Format ``73.1 [71.6, 74.5]`` in per cent, else ``0.731 [0.716, 0.745]``; a dash where there is no value."""
    value, low, high = (metric[key] for key in ("value", "low", "high"))
    if value is None:
        return DASH
    value, low, high = (number_text(number, percent=percent) for number in (value, low, high))
    return f"{value} [{low}, {high}]"


def number_text(value: float | None, *, percent: bool = False) -> str:
    """Format a value in per cent with one digit, else with three; a dash for None."""
    return DASH if value is None else f"{100 * value:.1f}" if percent else f"{value:.3f}"


def results_table(report: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """Return the metrics of every split, kind of views and subset."""
    rows = [
        [names.get(split, split), kind, subset, f"{score['n']:,}"]
        + [interval_text(score[metric], percent=metric in _PERCENT) for metric in _RESULT_COLUMNS]
        for split, kinds in report["results"].items()
        for kind, subsets in kinds.items()
        for subset, score in subsets.items()
    ]
    return markdown_table(["split", "views", "subset", "images", *_RESULT_COLUMNS.values()], rows)


def class_table(score: Mapping[str, Any]) -> str:
    """Return recall, precision and F1 of each class."""
    rows = [
        [name, f"{metrics['recall']['n']:,}"] + [interval_text(metrics[metric], percent=True) for metric in PER_CLASS]
        for name, metrics in score["per_class"].items()
    ]
    return markdown_table(["class", "images", "recall, %", "precision, %", "F1, %"], rows)


def confusion_table(score: Mapping[str, Any], classes: Sequence[str]) -> str:
    """Return the confusion matrix as shares of the label's images."""
    rows = [
        [name, *(interval_text(share, percent=True) for share in shares)]
        for name, shares in zip(classes, score["confusion"]["shares"], strict=True)
    ]
    return markdown_table(["label, then % predicted as", *classes], rows)


def reliability_table(score: Mapping[str, Any]) -> str:
    """Return the bins of the calibration error that hold images."""
    rows = [
        [
            f"{row['above']:.3f} to {row['to']:.3f}",
            f"{row['n']:,}",
            f"{row['confidence']:.3f}",
            f"{row['accuracy']:.3f}",
        ]
        for row in score["reliability"]
        if row["n"]
    ]
    return markdown_table(["confidence", "images", "mean confidence", "accuracy"], rows)


def runs_table(runs: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """Return mean and standard deviation over seeds of every split, kind of views and subset."""

    def cell(metric: Mapping[str, Any], percent: bool) -> str:
        return f"{number_text(metric['mean'], percent=percent)} ± {number_text(metric['sd'], percent=percent)}"

    rows = [
        [names.get(split, split), kind, subset, f"{score['n']:,}"]
        + [cell(score[metric], metric in _PERCENT) for metric in _RESULT_COLUMNS]
        for split, kinds in runs["results"].items()
        for kind, subsets in kinds.items()
        for subset, score in subsets.items()
    ]
    return markdown_table(["split", "views", "subset", "images", *_RESULT_COLUMNS.values()], rows)
