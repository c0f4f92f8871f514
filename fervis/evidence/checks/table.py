"""The table of checks of measures: each is a function of a subject, with the condition under which it applies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fervis.evidence.checks.subject import MeasureSubject

MeasureCheck = Callable[[MeasureSubject], None]


@dataclass(frozen=True)
class MeasureEntry:
    """A check of the contract.

    Attributes:
        name: name of the function without ``check_``.
        run: raises AssertionError with a sentence where the contract is broken.
        applies: whether it concerns a measure, known from its class alone.
    """

    name: str
    run: MeasureCheck
    applies: Callable[[MeasureSubject], bool]


MEASURE_CHECKS: dict[str, MeasureEntry] = {}


def of_measures(
    applies: Callable[[MeasureSubject], bool] = lambda subject: True,
) -> Callable[[MeasureCheck], MeasureCheck]:
    """Register a check under the name of its function."""

    def register(check: MeasureCheck) -> MeasureCheck:
        name = check.__name__.removeprefix("check_")
        MEASURE_CHECKS[name] = MeasureEntry(name, check, applies)
        return check

    return register


def has_yaml(subject: MeasureSubject) -> bool:
    """Apply to measures of a registered name."""
    return isinstance(subject.measure, str)
