"""Constraints on the settings of plug-ins, declared in their types and checked once, when a plug-in is built.

A plug-in states the constraint of a setting in its type::

    samples: Annotated[int, Whole(1)] = 50
    noise: Annotated[float, Range(0, 1)] = 0.15
    statistic: Annotated[str, Choice("mean", "square")] = "mean"
    fill: Annotated[Any, Choice("mean") | Number()] = "mean"

``registry.build_plugin`` checks them; ``--help`` and completion read them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Annotated, Any, Protocol, get_args, get_origin, get_type_hints

from fervis.errors import ConfigError, nearest_name


class Constraint(Protocol):
    """A condition on the value of a setting."""

    def allows(self, value: Any) -> bool:
        """Return whether the value is allowed."""
        ...

    def __str__(self) -> str:
        """Return what is expected, as it follows ``expected``: ``a number from 0 to 1``."""
        ...


class _Alternatives:
    """Base of constraints that can be combined by ``|``."""

    def __or__(self, other: Constraint) -> Either:
        return Either((self, other))  # pyright: ignore[reportArgumentType]


@dataclass(frozen=True)
class Range(_Alternatives):
    """A finite number between two bounds.

    Attributes:
        low: lower bound.
        high: upper bound.
        open_low: the lower bound itself is not allowed.
        open_high: the upper bound itself is not allowed.
        whole: only whole numbers.
    """

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False
    whole: bool = False

    def allows(self, value: Any) -> bool:
        """Return whether the value is a number within the bounds; neither NaN nor infinite."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return False
        if self.whole and not isinstance(value, int):
            return False
        above = value > self.low if self.open_low else value >= self.low
        return above and (value < self.high if self.open_high else value <= self.high)

    def __str__(self) -> str:
        low = "" if self.low == -math.inf else f" {'above' if self.open_low else 'from'} {self.low:g}"
        limit = "to below" if self.open_high and low else "below" if self.open_high else "to"
        high = "" if self.high == math.inf else f" {limit} {self.high:g}"
        return f"a {'whole ' * self.whole}number{low}{high}"


def Number() -> Range:
    """Allow any finite number."""
    return Range()


def Above(low: float) -> Range:
    """Allow a number greater than ``low``."""
    return Range(low, open_low=True)


def Whole(low: float = -math.inf, high: float = math.inf) -> Range:
    """Allow a whole number from ``low`` to ``high``."""
    return Range(low, high, whole=True)


def AtLeast(low: float) -> Range:
    """Allow a number of at least ``low``."""
    return Range(low)


class Choice(_Alternatives):
    """One value of a list."""

    def __init__(self, *values: Any) -> None:
        self.values = values

    def allows(self, value: Any) -> bool:
        """Return whether the value is listed; ``True`` is not taken for 1."""
        return any(value == known and isinstance(value, bool) == isinstance(known, bool) for known in self.values)

    def __str__(self) -> str:
        *first, last = map(str, self.values)
        return f"{', '.join(first)} or {last}" if first else last


@dataclass(frozen=True)
class Text(_Alternatives):
    """A non-empty text."""

    what: str = "a text"

    def allows(self, value: Any) -> bool:
        """Return whether the value is a non-empty text."""
        return isinstance(value, str) and bool(value.strip())

    def __str__(self) -> str:
        return self.what


@dataclass(frozen=True)
class ListOf(_Alternatives):
    """A list of distinct items, not empty."""

    item: Constraint
    what: str

    def allows(self, value: Any) -> bool:
        """Return whether the value is a list whose items are allowed, each once."""
        listed = isinstance(value, list | tuple) and len(value) > 0 and all(self.item.allows(item) for item in value)
        return listed and len(set(value)) == len(value)

    def __str__(self) -> str:
        return self.what


@dataclass(frozen=True)
class Either(_Alternatives):
    """One of several constraints."""

    options: tuple[Constraint, ...]

    def allows(self, value: Any) -> bool:
        """Return whether any of them allows the value."""
        return any(option.allows(value) for option in self.options)

    def __str__(self) -> str:
        return " or ".join(map(str, self.options))


def constraints(plugin: type) -> dict[str, Constraint]:
    """Return the constraint of each setting of a plug-in's class that states one."""
    hints = get_type_hints(plugin, include_extras=True)
    return {
        field.name: part
        for field in fields(plugin)
        for part in _annotations(hints[field.name])
        if hasattr(part, "allows")
    }


def _annotations(hint: Any) -> Iterator[Any]:
    if get_origin(hint) is Annotated:
        yield from get_args(hint)[1:]


def check_knobs(kind: str, plugin: Any) -> None:
    """Check every setting of a plug-in against its constraint; ``None`` is allowed where the type names it.

    Raises:
        ConfigError: a value that its constraint does not allow.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass
        ... class Blur:
        ...     width: Annotated[float, Above(0)] = 1.0
        >>> check_knobs("explainer", Blur(width=0))
        Traceback (most recent call last):
        fervis.errors.ConfigError: explainer.width=0: expected a number above 0.
    """
    hints = get_type_hints(type(plugin))
    for name, constraint in constraints(type(plugin)).items():
        value = getattr(plugin, name)
        optional = type(None) in get_args(hints[name])
        if not (value is None and optional) and not constraint.allows(value):
            raise ConfigError(f"{kind}.{name}={value}: expected {constraint}.{_nearest(value, constraint)}")


def _nearest(value: Any, constraint: Constraint) -> str:
    options = constraint.options if isinstance(constraint, Either) else (constraint,)
    known = [choice for option in options if isinstance(option, Choice) for choice in option.values]
    return nearest_name(value, known) if isinstance(value, str) else ""


def choices(constraint: Constraint) -> tuple[Any, ...]:
    """Return the values that a constraint lists by name, for completion."""
    if isinstance(constraint, Either):
        return tuple(value for option in constraint.options for value in choices(option))
    return constraint.values if isinstance(constraint, Choice) else ()
