"""Checks of what an explainer states: its attributes, its settings and its YAML file. Nothing is computed."""

from __future__ import annotations

import re
from dataclasses import is_dataclass
from typing import Any

from fervis.core.layers import resolve_layers
from fervis.errors import ConfigError
from fervis.explainers.checks.subject import Subject, expect
from fervis.explainers.checks.table import contract
from fervis.models.checks.declarations import (
    expect_lawful_defaults,
    expect_wrong_types_refused,
    expect_yaml_of_knobs,
    yaml_summary,
)
from fervis.models.checks.table import has_yaml

_SCOPES = {"image", "network"}
_TAKEN = {"layers", "pixels", "classes", "filters"}


@contract()
def check_scope_is_known(subject: Subject) -> None:
    """``scope`` is image or network; maps are of images."""
    scope = getattr(subject.cls, "scope", None)
    expect(scope in _SCOPES, f"scope={scope}: expected image or network.")
    expect(scope == "image" or not subject.gives_maps, "scope=network: maps are of images, expected scope=image.")


@contract()
def check_result_has_a_kind(subject: Subject) -> None:
    """``result`` is a kind of result with a name, which selects its visualizer."""
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
    """Every setting has a default that its own constraint allows, so that the name alone can be chosen."""
    expect_lawful_defaults(subject)


@contract()
def check_knobs_refuse_wrong_types(subject: Subject) -> None:
    """A value of a wrong type is refused with one sentence, a ConfigError, when the plug-in is built."""
    expect_wrong_types_refused(subject)


@contract(has_yaml)
def check_yaml_states_every_knob(subject: Subject) -> None:
    """The YAML file states every setting of the class, and no other."""
    expect_yaml_of_knobs(subject)


@contract(has_yaml)
def check_yaml_has_a_summary(subject: Subject) -> None:
    """The first comment of the YAML file states in one line what the explainer does."""
    expect(yaml_summary(subject), "the YAML file begins without a comment.")
