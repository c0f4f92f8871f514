"""A table runs its checks in order, those that apply, and refuses what is no plug-in of its kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest

from fervis.errors import ConfigError
from fervis.models.checks.plugin import CheckedPlugin
from fervis.models.checks.table import CheckTable, has_yaml


@dataclass
class Tracker(CheckedPlugin):
    kind: ClassVar[str] = "tracker"
    plugin: Any = "none"
    knobs: Mapping[str, Any] = field(default_factory=dict)
    ran: list[str] = field(default_factory=list)


TRACKERS: CheckTable[Tracker] = CheckTable()


@TRACKERS.register()
def check_second_by_name(subject: Tracker) -> None:
    subject.ran.append("second_by_name")


@TRACKERS.register(has_yaml)
def check_a_file(subject: Tracker) -> None:
    subject.ran.append("a_file")


def test_the_checks_that_apply_run_in_the_order_of_registration():
    subject = Tracker("none")
    checks = TRACKERS.checks_of(subject)
    assert subject.ran == []
    for _, run in checks:
        run()
    assert subject.ran == [name for name, _ in checks] == ["second_by_name", "a_file"]
    assert [name for name, _ in TRACKERS.checks_of(Tracker(subject.cls))] == ["second_by_name"]


def test_a_name_or_class_of_no_plugin_is_refused():
    with pytest.raises(ConfigError, match=r"^tracker=non: .* Did you mean none\?"):
        TRACKERS.checks_of(Tracker("non"))
    with pytest.raises(ConfigError, match=r"^tracker=int: expected a dataclass with a method \w+\.$"):
        TRACKERS.checks_of(Tracker(int))
