"""A table of checks: each is a function of a subject, with the condition under which it applies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, TypeVar

from fervis.core.registry import METHODS, is_plugin, names
from fervis.errors import ConfigError, unknown_name
from fervis.models.checks.outcomes import NamedCheck
from fervis.models.checks.plugin import CheckedPlugin

Subject_T = TypeVar("Subject_T", bound=CheckedPlugin)


@dataclass(frozen=True)
class CheckEntry(Generic[Subject_T]):
    """A check of the contract.

    Attributes:
        name: name of the function without ``check_``.
        run: raises AssertionError with a sentence where the contract is broken.
        applies: whether it concerns a plug-in, known from its class alone.
    """

    name: str
    run: Callable[[Subject_T], None]
    applies: Callable[[Subject_T], bool]


@dataclass(frozen=True)
class CheckTable(Generic[Subject_T]):
    """The checks of plug-ins of one kind, in the order in which they were registered.

    Attributes:
        entries: name of a check -> the check.
    """

    entries: dict[str, CheckEntry[Subject_T]] = field(default_factory=dict)

    def register(
        self, applies: Callable[[Subject_T], bool] = lambda subject: True
    ) -> Callable[[Callable[[Subject_T], None]], Callable[[Subject_T], None]]:
        """Return a decorator that adds a check under the name of its function."""

        def add(check: Callable[[Subject_T], None]) -> Callable[[Subject_T], None]:
            name = check.__name__.removeprefix("check_")
            self.entries[name] = CheckEntry(name, check, applies)
            return check

        return add

    def checks_of(self, subject: Subject_T) -> list[NamedCheck]:
        """Return the name of each check that concerns a plug-in, with a function that runs it.

        Raises:
            ConfigError: no plug-in has this name, or the class is no plug-in of this kind.
        """
        kind = subject.kind
        if isinstance(subject.plugin, str) and subject.plugin not in names(kind):
            raise unknown_name(kind, subject.plugin, names(kind))
        if not is_plugin(kind, subject.cls):
            raise ConfigError(f"{kind}={subject.name}: expected a dataclass with a method {METHODS[kind]}.")
        return [(entry.name, partial(entry.run, subject)) for entry in self.entries.values() if entry.applies(subject)]


def has_yaml(subject: CheckedPlugin) -> bool:
    """Apply to plug-ins of a registered name."""
    return isinstance(subject.plugin, str)
