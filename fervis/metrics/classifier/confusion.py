"""Describe the best and the worst cells of a confusion matrix with their intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fervis.core.intervals import Interval, format_interval

Cells = NDArray[np.float64]


def best_and_worst(shares: Cells, low: Cells, high: Cells, classes: Sequence[str]) -> list[str]:
    """Describe the classes that are recalled best and worst, one sentence each; none where no class has a face.

    Args:
        shares: [K,K] shares of the true class (row); nan in the rows of classes without faces.
        low: [K,K] lower ends of their intervals.
        high: [K,K] upper ends.
        classes: K names.
    """
    recalls = np.diagonal(shares)
    if np.isnan(recalls).all():
        return []
    extremes = (("best", int(np.nanargmax(recalls))), ("worst", int(np.nanargmin(recalls))))
    return [
        f"{classes[index]} is recalled {word}: "
        f"{format_recall(shares[index, index], low[index, index], high[index, index])}"
        for word, index in extremes
    ]


def largest_confusions(
    shares: Cells, low: Cells, high: Cells, classes: Sequence[str], *, most: int = 3
) -> list[tuple[int, int, str]]:
    """Find the cells off the diagonal with the largest shares of their true class, the largest first.

    Args:
        shares: [K,K] shares of the true class (row); nan in the rows of classes without faces.
        low: [K,K] lower ends of their intervals.
        high: [K,K] upper ends.
        classes: K names.
        most: how many at most; cells without a face are none.

    Returns:
        Row, column and a sentence: ``fear is called sad in 21 % [18, 24] of its faces``.
    """
    off = np.where(np.eye(len(classes), dtype=bool), 0.0, np.nan_to_num(shares))
    order = np.argsort(-off, axis=None, kind="stable")[:most]
    cells = [divmod(int(index), len(classes)) for index in order if off.flat[index] > 0]
    return [
        (
            row,
            column,
            f"{classes[row]} is called {classes[column]} in "
            f"{format_recall(shares[row, column], low[row, column], high[row, column], digits=0)} of its faces",
        )
        for row, column in cells
    ]


def format_recall(share: float, low: float, high: float, *, digits: int = 1) -> str:
    """Format a share as ``68.7 % [67.1, 70.2]``, without ends where there are none or where both are the same."""
    return format_interval(Interval(share, low, high).informative.percent, f".{digits}f", unit=" %", missing="nan %")
