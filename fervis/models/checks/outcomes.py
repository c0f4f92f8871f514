"""Run named checks and report the outcome of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from unittest import SkipTest

from fervis.errors import unknown_name

NamedCheck = tuple[str, Callable[[], None]]


@dataclass(frozen=True)
class CheckOutcome:
    """The outcome of one check.

    Attributes:
        check: its name.
        status: ``passed``, ``failed``, ``skipped``, ``expected`` (failed, as stated) or ``unexpected`` (passed, though
            a failure was stated).
        reason: why it failed, was skipped, or was expected to fail.
        error: the error that was raised.
    """

    check: str
    status: str
    reason: str = ""
    error: BaseException | None = None


def outcomes_of(
    checks: Sequence[NamedCheck], expected_failures: Mapping[str, str] | None, raise_error: bool
) -> list[CheckOutcome]:
    """Run checks.

    Args:
        checks: name and function of each.
        expected_failures: name of a check -> why it fails. Strict: one that passes is an error.
        raise_error: raise at the end if any check failed.

    Raises:
        AssertionError: checks failed, or passed that were expected to fail; each is named with its reason.
        ConfigError: there is no such check.
    """
    expected = dict(expected_failures or {})
    for name in expected:
        if name not in dict(checks):
            raise unknown_name("expected_failures", name, dict(checks))
    outcomes = [_outcome(name, run, expected.get(name)) for name, run in checks]
    wrong = [outcome for outcome in outcomes if outcome.status in ("failed", "unexpected")]
    if raise_error and wrong:
        listed = "\n".join(f"  {outcome.check}: {outcome.reason}" for outcome in wrong)
        raise AssertionError(f"{len(wrong)} of {len(outcomes)} checks failed:\n{listed}") from wrong[0].error
    return outcomes


def expect(condition: Any, sentence: str) -> None:
    """Raise AssertionError with a sentence unless the condition holds."""
    if not condition:
        raise AssertionError(sentence)


def _outcome(name: str, run: Callable[[], None], expected: str | None) -> CheckOutcome:
    try:
        run()
    except SkipTest as error:
        return CheckOutcome(name, "skipped", str(error))
    except Exception as error:
        reason = f"{error}" if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
        return CheckOutcome(name, "failed" if expected is None else "expected", expected or reason, error)
    if expected is None:
        return CheckOutcome(name, "passed")
    return CheckOutcome(name, "unexpected", f"it passed, though a failure is expected: {expected}")
