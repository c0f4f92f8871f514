"""The table of checks of explainers, and the conditions under which they apply."""

from __future__ import annotations

from fervis.explainers.checks.subject import Subject
from fervis.models.checks.table import CheckTable

TABLE: CheckTable[Subject] = CheckTable()
contract = TABLE.register


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
