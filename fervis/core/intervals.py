"""A value with its confidence interval, and how numbers and intervals are written for people."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MISSING = "\N{EN DASH}"
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Interval:
    """A number with the ends of its 95 % bootstrap interval over faces; NaN where there is none."""

    value: float
    low: float = math.nan
    high: float = math.nan

    @classmethod
    def of_table(cls, table: Mapping[str, Any]) -> Interval:
        """Return the interval of a table with ``value``, ``low`` and ``high``, in which None means NaN."""
        return cls(*(math.nan if table[end] is None else table[end] for end in ("value", "low", "high")))

    @property
    def percent(self) -> Interval:
        """The share in per cent."""
        return Interval(100 * self.value, 100 * self.low, 100 * self.high)

    @property
    def informative(self) -> Interval:
        """The same without ends that are equal.

        A bootstrap of none or all of the faces gives 0 to 0 or 100 to 100, as if nothing else could be.
        """
        return self if self.low < self.high else Interval(self.value)


def format_number(value: float, form: str = "") -> str:
    """Format a number with a typographic minus sign.

    Args:
        value: any number; infinities and NaN are formatted as Python does.
        form: format specification such as ``.1f``; by default three significant digits.

    Example:
        >>> format_number(0.03125), format_number(-12), format_number(3.1e-5), format_number(0.5, ".3f")
        ('0.0312', '−12', '3.1·10⁻⁵', '0.500')
    """
    if form:
        text = format(value, form)
    elif value == 0 or 1e-3 <= abs(value) < 1e5:
        text = f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    elif not math.isfinite(value):
        text = str(value)
    else:
        mantissa, exponent = f"{value:.2e}".split("e")
        text = f"{mantissa.rstrip('0').rstrip('.')}·10{str(int(exponent)).translate(_SUPERSCRIPTS)}"
    return text.replace("-", "\N{MINUS SIGN}")


def format_interval(
    number: Interval,
    form: str = "",
    *,
    unit: str = "",
    unit_last: bool = False,
    ends: str | None = None,
    missing: str = MISSING,
) -> str:
    """Format a number with the ends of its interval in brackets, which are left out where there are none.

    Args:
        number: what to format.
        form: format specification of the number, as ``format_number`` takes it.
        unit: what follows the number.
        unit_last: write the unit after the brackets instead.
        ends: format specification of the ends; by default ``form``.
        missing: text for a number that is NaN or infinite.

    Example:
        >>> format_interval(Interval(0.412, 0.398, 0.431), ".3f")
        '0.412 [0.398, 0.431]'
        >>> format_interval(Interval(0.687, 0.672, 0.702).percent, ".1f", unit=" %")
        '68.7 % [67.2, 70.2]'
        >>> format_interval(Interval(0.412, 0.398, 0.431).percent, ".1f", unit=" %", unit_last=True)
        '41.2 [39.8, 43.1] %'
    """
    if not math.isfinite(number.value):
        return missing
    text = format_number(number.value, form) + ("" if unit_last else unit)
    if math.isfinite(number.low) and math.isfinite(number.high):
        low, high = (format_number(end, form if ends is None else ends) for end in (number.low, number.high))
        text += f" [{low}, {high}]"
    return text + unit if unit_last else text
