"""Results: dataclasses of N entries, which are joined, and from which entries are taken.

Every tensor, dict of tensors and tuple in a result has one item per entry, but for fields marked as ``SHARED``, which
hold for all entries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, ClassVar, Protocol, TypeVar, cast, get_args, get_type_hints

import torch
from numpy.typing import NDArray
from torch import Tensor


class Result(Protocol):
    """A result of N entries, a dataclass. A plug-in may define another kind, with a visualizer that draws it.

    Attributes:
        kind: name of the kind, by which a visualizer is chosen.
    """

    kind: ClassVar[str]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the raw values by name, as ``arrays.npz`` holds them.

        An array has one item per entry, unless it has the name of a field that is shared by all entries, or is named
        ``<name>_<n>`` and is of entry n alone.
        """
        ...

    def summary_row(self, entry: int) -> dict[str, Any]:
        """Return numbers and texts of one entry for its row of the summary's table; plain data."""
        ...


class ShortRepr:
    """Prints a dataclass with shapes and types in place of tensors; the dataclass is declared with ``repr=False``."""

    def __repr__(self) -> str:
        words = (f"{one.name}={describe_value(getattr(self, one.name))}" for one in fields(cast(Any, self)))
        return f"{type(self).__name__}({', '.join(words)})"


def describe_value(value: Any) -> str:
    """Describe a value in a few words: a tensor by shape and type, a collection by its first items.

    Example:
        >>> describe_value(torch.zeros(2, 3)), describe_value({"a": torch.zeros(2)}), describe_value((1, 2, 3, 4))
        ('[2,3] float32', '{a: [2] float32}', '(1, 2, 3, ... 1 more)')
    """
    if isinstance(value, Tensor):
        return f"[{','.join(map(str, value.shape))}] {str(value.dtype).removeprefix('torch.')}"
    if isinstance(value, dict):
        return "{" + _first_items([f"{name}: {describe_value(item)}" for name, item in value.items()]) + "}"
    if isinstance(value, tuple):
        return f"({_first_items([describe_value(item) for item in value[:4]], len(value))})"
    return value if isinstance(value, str) and len(value) < 60 else repr(value)[:60]


def _first_items(words: list[str], count: int | None = None) -> str:
    left = (len(words) if count is None else count) - 3
    return ", ".join([*words[:3], *([f"... {left} more"] if left > 0 else [])])


R = TypeVar("R")
SHARED = "shared by all entries"
"""Marks a field: ``epochs: Annotated[tuple[int, ...], SHARED]``."""


def entry_fields(result: Any) -> list[str]:
    """Return the names of the fields that have one item per entry."""
    shared = shared_fields(type(result))
    return [field.name for field in fields(result) if field.name not in shared]


def shared_fields(kind: type[Any]) -> list[str]:
    """Return the names of the fields of a kind of result that are shared by all entries."""
    hints = get_type_hints(kind, include_extras=True)
    return [field.name for field in fields(kind) if SHARED in get_args(hints[field.name])]


def join_results(results: Sequence[R]) -> R:
    """Join the results of several batches, layers or checkpoints: their entries one after the other.

    A kind that is joined differently has a class method ``join(results)``.
    """
    first: Any = results[0]
    if len(results) == 1:
        return first
    if hasattr(type(first), "join"):
        return type(first).join(results)
    return replace(
        first, **{name: join_items([getattr(result, name) for result in results]) for name in entry_fields(first)}
    )


def take_from_result(result: R, index: Tensor) -> R:
    """Return the result of the entries at these positions [M] int64, in that order."""
    own: Any = result
    return replace(own, **{name: _take(getattr(own, name), index) for name in entry_fields(own)})


def join_items(values: Sequence[Any]) -> Any:
    """Concatenate tensors, tuples, or dicts of these; other values are taken to be equal, and the first is returned."""
    first = values[0]
    if isinstance(first, Tensor):
        return torch.cat(list(values))
    if isinstance(first, tuple):
        return tuple(item for value in values for item in value)
    if isinstance(first, dict):
        return {name: join_items([value[name] for value in values]) for name in first}
    return first


def _take(value: Any, index: Tensor) -> Any:
    if isinstance(value, Tensor):
        return value[index.to(value.device)]
    if isinstance(value, dict):
        return {name: _take(item, index) for name, item in value.items()}
    if isinstance(value, tuple):
        return tuple(value[position] for position in index.tolist())
    return value


def as_array(values: Tensor) -> NDArray[Any]:
    """Return a tensor as numpy holds it, on the CPU, row by row in memory, so that equal values are equal bytes."""
    return values.detach().cpu().contiguous().numpy()


def tensor_arrays(result: Any) -> dict[str, NDArray[Any]]:
    """Return every tensor of a result under the name of its field."""
    values = {f.name: getattr(result, f.name) for f in fields(result)}
    return {name: as_array(value) for name, value in values.items() if isinstance(value, Tensor)}


def finite_number(value: Tensor) -> float | None:
    """Return a number to six digits, or None where it is not one: JSON has no NaN."""
    return round(float(value), 6) if torch.isfinite(value) else None
