"""Checks of the settings and the YAML file of a plug-in of any kind. Nothing is computed."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any, get_args, get_type_hints

from fervis.core.knobs import constraints
from fervis.core.registry import build_from_class, option_files, option_summary
from fervis.errors import ConfigError
from fervis.models.checks.outcomes import expect
from fervis.models.checks.plugin import CheckedPlugin

_WRONG = (("wrong type",), {"wrong": "type"})  # of no setting: a list of a text, and a dict


def expect_lawful_defaults(subject: CheckedPlugin) -> None:
    """Raise AssertionError unless every setting has a default that its own constraint allows."""
    missing = [f.name for f in fields(subject.cls) if f.init and f.default is f.default_factory is MISSING]
    expect(not missing, f"{missing}: expected a default for every setting.")
    try:
        build_from_class(subject.key, subject.cls, {})
    except ConfigError as error:
        raise AssertionError(f"the defaults are refused: {error}") from error


def expect_wrong_types_refused(subject: CheckedPlugin) -> None:
    """Raise AssertionError unless a value of a wrong type is refused by a ConfigError when the plug-in is built."""
    stated = constraints(subject.cls)
    hints = get_type_hints(subject.cls)
    for knob in (f.name for f in fields(subject.cls) if f.init):
        free = dict in (hints[knob], *get_args(hints[knob])) and knob not in stated
        if not free:
            expect(any(_is_refused(subject, knob, value) for value in _WRONG), f"{knob}: takes a value of any type.")


def expect_yaml_of_knobs(subject: CheckedPlugin) -> None:
    """Raise AssertionError unless the YAML file states every setting of the class, and no other."""
    stated, known = set(subject.settings()), {f.name for f in fields(subject.cls) if f.init}
    expect(stated == known, f"the YAML file states {sorted(stated)}, expected {sorted(known)}.")


def yaml_summary(subject: CheckedPlugin) -> str:
    """Return the first comment of the YAML file of a registered name."""
    return option_summary(option_files(subject.kind)[subject.name])


def _is_refused(subject: CheckedPlugin, knob: str, value: Any) -> bool:
    try:
        build_from_class(subject.key, subject.cls, {knob: list(value) if isinstance(value, tuple) else value})
    except ConfigError as error:
        return f"{subject.key}.{knob}" in str(error)
    return False
