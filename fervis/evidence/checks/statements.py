"""Checks of what a measure states: its attributes, its settings and its YAML file. Nothing is computed."""

from __future__ import annotations

import re

from fervis.evidence.checks.subject import MeasureSubject
from fervis.evidence.checks.table import of_measures
from fervis.models.checks.declarations import (
    expect_lawful_defaults,
    expect_wrong_types_refused,
    expect_yaml_of_knobs,
    yaml_summary,
)
from fervis.models.checks.outcomes import expect
from fervis.models.checks.table import has_yaml

_NEEDS = {"truth", "explain_again"}


@of_measures()
def check_better_is_known(subject: MeasureSubject) -> None:
    """``better`` is lower, higher or neither."""
    better = getattr(subject.cls, "better", None)
    expect(better in ("lower", "higher", "neither"), f"better={better}: expected lower, higher or neither.")


@of_measures()
def check_needs_are_known(subject: MeasureSubject) -> None:
    """``needs`` holds what a run can give."""
    needs = getattr(subject.cls, "needs", None)
    expect(isinstance(needs, frozenset), f"needs={needs}: expected a frozenset.")
    wrong = sorted(set(needs or ()) - _NEEDS)
    expect(not wrong, f"needs={wrong}: expected of {', '.join(sorted(_NEEDS))}.")


@of_measures()
def check_settings_have_lawful_defaults(subject: MeasureSubject) -> None:
    """Every setting has a default that its own constraint allows, so that the name alone can be chosen."""
    expect_lawful_defaults(subject)


@of_measures()
def check_settings_refuse_wrong_types(subject: MeasureSubject) -> None:
    """A value of a wrong type is refused with one sentence, a ConfigError, when the measure is built."""
    expect_wrong_types_refused(subject)


@of_measures(has_yaml)
def check_yaml_states_every_setting(subject: MeasureSubject) -> None:
    """The YAML file states every setting of the class, and no other."""
    expect_yaml_of_knobs(subject)


@of_measures(has_yaml)
def check_yaml_names_the_source(subject: MeasureSubject) -> None:
    """The first comment of the YAML file states in one line what is measured, and who proposed it."""
    summary = yaml_summary(subject)
    sourced = re.search(r"\([^()]*\d{4}\)$", summary)
    expect(sourced, f"the YAML file begins with {summary!r}, expected a line that ends in (Author Year).")
