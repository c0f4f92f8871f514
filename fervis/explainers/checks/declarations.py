"""Checks of what an explainer states: its attributes, its settings and its YAML file. Nothing is computed."""

from __future__ import annotations

import re
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, get_args, get_type_hints

from fervis.core.knobs import constraints
from fervis.core.layers import resolve_layers
from fervis.core.registry import option_files, option_summary
from fervis.errors import ConfigError
from fervis.explainers.checks.subject import Subject, expect
from fervis.explainers.checks.table import contract

_SCOPES = {"image", "network"}
_TAKEN = {"layers", "pixels", "classes", "filters"}
_WRONG = (("wrong type",), {"wrong": "type"})  # of no setting: a list of a text, and a dict


def _registered(subject: Subject) -> bool:
    return isinstance(subject.explainer, str)


@contract()
def check_scope_is_known(subject: Subject) -> None:
    """``scope`` is image or network; maps are of images."""
    scope = getattr(subject.cls, "scope", None)
    expect(scope in _SCOPES, f"scope={scope}: expected image or network.")
    expect(scope == "image" or not subject.gives_maps, "scope=network: maps are of images, expected scope=image.")


@contract()
def check_result_has_a_kind(subject: Subject) -> None:
    """``result`` is a kind of result with a name, by which its visualizer is found."""
    result = getattr(subject.cls, "result", None)
    kind: Any = getattr(result, "kind", None)
    named = is_dataclass(result) and isinstance(kind, str) and kind != ""
    expect(named, f"result={result}: expected a dataclass of a result, with a kind.")


@contract()
def check_takes_are_known(subject: Subject) -> None:
    """``takes`` holds known settings."""
    takes = getattr(subject.cls, "takes", None)
    expect(isinstance(takes, frozenset), f"takes={takes}: expected a frozenset.")
    wrong = sorted(set(takes or ()) - _TAKEN)
    expect(not wrong, f"takes={wrong}: expected of {', '.join(sorted(_TAKEN))}.")


@contract()
def check_default_layer_is_lawful(subject: Subject) -> None:
    """``default_layer`` is known, and is one that the explainer takes."""
    layer = getattr(subject.cls, "default_layer", None)
    expect(
        isinstance(layer, str) and re.fullmatch(r"input|all|last_\w+", layer),
        f"default_layer={layer}: expected input, all, or one that every network has, such as last_conv.",
    )
    try:
        resolve_layers(subject.network(), str(layer), subject.images(1))
    except ConfigError as error:
        raise AssertionError(f"default_layer={layer}: {error}") from error
    expect(
        subject.has("layers") or layer == "input",
        f"default_layer={layer}: an explainer that takes no layers must not search for one; expected input.",
    )


@contract()
def check_knobs_have_lawful_defaults(subject: Subject) -> None:
    """Every setting has a default that its own constraint allows, so that the name alone can be asked."""
    missing = [f.name for f in fields(subject.cls) if f.init and f.default is f.default_factory is MISSING]
    expect(not missing, f"{missing}: expected a default for every setting.")
    try:
        Subject(subject.cls).build()
    except ConfigError as error:
        raise AssertionError(f"the defaults are refused: {error}") from error


@contract()
def check_knobs_refuse_wrong_types(subject: Subject) -> None:
    """A value of a wrong type is refused with one sentence, a ConfigError, when the plug-in is built."""
    stated = constraints(subject.cls)
    hints = get_type_hints(subject.cls)
    for knob in (f.name for f in fields(subject.cls) if f.init):
        free = dict in (hints[knob], *get_args(hints[knob])) and knob not in stated
        if not free:
            expect(any(_refused(subject, knob, value) for value in _WRONG), f"{knob}: takes a value of any type.")


def _refused(subject: Subject, knob: str, value: Any) -> bool:
    try:
        Subject(subject.cls).build(**{knob: list(value) if isinstance(value, tuple) else value})
    except ConfigError as error:
        return f"explainer.{knob}" in str(error)
    return False


@contract(_registered)
def check_yaml_states_every_knob(subject: Subject) -> None:
    """The YAML file states every setting of the class, and no other."""
    stated, known = set(subject.settings()), {f.name for f in fields(subject.cls) if f.init}
    expect(stated == known, f"the YAML file states {sorted(stated)}, expected {sorted(known)}.")


@contract(_registered)
def check_yaml_has_a_summary(subject: Subject) -> None:
    """The first comment of the YAML file says in a line what the explainer does."""
    expect(option_summary(option_files("explainer")[subject.name]), "the YAML file begins without a comment.")
