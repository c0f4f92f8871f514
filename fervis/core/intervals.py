"""A value with its confidence interval."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """A number with the ends of its 95 % bootstrap interval over faces; NaN where there is none."""

    value: float
    low: float = float("nan")
    high: float = float("nan")
