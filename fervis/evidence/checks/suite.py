"""The contract suite for measures of evidence, fervis's own and other people's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fervis.evidence.checks import (  # noqa: F401, each module registers its checks, in this order
    company,
    sense,
    statements,
    traces,
    values,
)
from fervis.evidence.checks.subject import MeasureSubject
from fervis.evidence.checks.table import MEASURE_CHECKS
from fervis.models.checks.outcomes import CheckOutcome, NamedCheck, outcomes_of


def check_evidence(
    measure: Any,
    *,
    knobs: Mapping[str, Any] | None = None,
    expected_failures: Mapping[str, str] | None = None,
    raise_error: bool = True,
) -> list[CheckOutcome]:
    """Check whether a measure fulfills the contract: shapes, direction, degenerate maps, batches, determinism, state.

    Args:
        measure: a registered name, a measure's class, or a measure that is built.
        knobs: settings that differ from the defaults, such as fewer samples.
        expected_failures: name of a check -> why it fails. Strict: one that passes is an error.
        raise_error: raise at the end if any check failed.

    Returns:
        The outcome of each check that concerns the measure.

    Raises:
        AssertionError: checks failed, or passed that were expected to fail; each is named with its reason.
        ConfigError: there is no such measure or check.
    """
    return outcomes_of(evidence_checks(measure, knobs=knobs), expected_failures, raise_error)


def evidence_checks(measure: Any, *, knobs: Mapping[str, Any] | None = None) -> list[NamedCheck]:
    """Return the name of each check that concerns a measure, with a function that runs it.

    They are for ``pytest.mark.parametrize(("name", "check"), ...)``; nothing is computed yet. The functions share what
    they compute. Each raises AssertionError where the contract is broken.

    Args:
        measure: as in ``check_evidence``.
        knobs: as in ``check_evidence``.
    """
    return MEASURE_CHECKS.checks_of(MeasureSubject(measure, dict(knobs or {})))
