"""The table of checks: each is a function of a subject, with the condition under which it applies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fervis.explainers.checks.subject import Subject

Check = Callable[[Subject], None]


@dataclass(frozen=True)
class Entry:
    """A check of the contract.

    Attributes:
        name: name of the function without ``check_``.
        run: raises AssertionError with a sentence where the contract is broken.
        applies: whether it concerns an explainer, known from its class alone.
    """

    name: str
    run: Check
    applies: Callable[[Subject], bool]


TABLE: dict[str, Entry] = {}


def contract(applies: Callable[[Subject], bool] = lambda subject: True) -> Callable[[Check], Check]:
    """Register a check under the name of its function."""

    def register(check: Check) -> Check:
        name = check.__name__.removeprefix("check_")
        TABLE[name] = Entry(name, check, applies)
        return check

    return register


def gives_maps(subject: Subject) -> bool:
    """Apply to explainers whose result is maps of images."""
    return subject.gives_maps


def takes_classes(subject: Subject) -> bool:
    """Apply to explainers whose maps depend on the class."""
    return subject.gives_maps and subject.has("classes")


def takes_layers(subject: Subject) -> bool:
    """Apply to explainers whose maps are taken at layers."""
    return subject.gives_maps and subject.has("layers")


def own_network(subject: Subject) -> bool:
    """Apply to explainers of maps that are tried on the checks' own network."""
    return subject.gives_maps and subject.network_varies


def built_network(subject: Subject) -> bool:
    """Apply to explainers of maps where networks of other channels and classes can be built."""
    return subject.gives_maps and subject.network_is_built
