"""What every measure of evidence must do: the public contract (``fervis.evidence_checks``)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.contract_cases import contract_cases

import fervis
from fervis.core.registry import names, option_settings

# They score certain data alone, and their own tests do: drawn faces, networks set by hand, and images that the network
# is sure of.
OF_OWN_DATA = {"part_removal", "true_attribution", "grid_pointing_game", "disconnected_grid"}
MEASURES = [
    name for name in names("evidence") if "name" in option_settings("evidence", name) and name not in OF_OWN_DATA
]
# Settings by which the checks are quick, or fit images of 16 x 16 pixels.
KNOBS: dict[str, dict[str, Any]] = {"infidelity": {"side": 5, "samples": 60}}
# Name of a measure -> name of a check -> why it fails. Strict: one that passes is an error.
EXPECTED_FAILURES: dict[str, dict[str, str]] = {}


def cases() -> Iterator[Any]:
    for name in MEASURES:
        checks = fervis.evidence_checks(name, knobs=KNOBS.get(name))
        yield from contract_cases(name, checks, EXPECTED_FAILURES.get(name, {}))


@pytest.mark.parametrize("run", list(cases()))
def test_contract(run: Callable[[], None]):
    run()


def test_every_expected_failure_is_of_a_check_that_there_is():
    for name, expected in EXPECTED_FAILURES.items():
        assert set(expected) <= set(dict(fervis.evidence_checks(name)))
