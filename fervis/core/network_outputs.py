"""The logits among what a network returns: one tensor, or a tuple, list, dict or dataclass that holds them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

from fervis.errors import ConfigError, nearest_name

_DEEPEST = 3  # levels of containers within containers


def select_logits(output: Any, name: str | int | None = None) -> Tensor:
    """Return the tensor of logits of what a network returned.

    Args:
        output: one tensor, which is returned as it is, or a container of tensors.
        name: key, field or position of the logits, with dots between the levels (``heads.emotion``, ``0``); None
            where only one tensor in the container is [N,K].

    Raises:
        ConfigError: there is no such tensor, or none is named and several or none could be logits.

    Example:
        >>> select_logits({"logits": torch.zeros(2, 3), "features": torch.zeros(2, 8, 4, 4)}).shape
        torch.Size([2, 3])
    """
    if isinstance(output, Tensor):
        return output
    tensors = dict(named_tensors(output))
    if name is not None:
        return _named_tensor(tensors, list(_items(output)), name)
    candidates = candidate_logits(tensors)
    if len(candidates) == 1:
        return tensors[candidates[0]]
    if not candidates:
        held = f"holds {_listed(tensors)}" if tensors else f"is a {type(output).__name__} without tensors"
        raise ConfigError(f"model: its output {held}, expected one tensor of [N,K] logits.")
    choices = " or ".join(f"output={name}" for name in candidates)
    raise ConfigError(f"model: its output holds {_listed(tensors)}; say which are the logits by {choices}.")


def candidate_logits(tensors: Mapping[str, Tensor]) -> list[str]:
    """Return the names of the tensors that could be [N,K] logits; a tensor that stands under two names counts once."""
    first = {id(tensor): name for name, tensor in reversed(list(tensors.items()))}
    return [
        name
        for name, tensor in tensors.items()
        if tensor.ndim == 2 and tensor.is_floating_point() and first[id(tensor)] == name
    ]


def named_tensors(output: Any, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Tensor]]:
    """Yield every tensor in a container with its name: keys, fields and positions, with dots between the levels."""
    for key, value in _items(output) if depth < _DEEPEST else ():
        if isinstance(value, Tensor):
            yield f"{prefix}{key}", value
        else:
            yield from named_tensors(value, f"{prefix}{key}.", depth + 1)


def _items(output: Any) -> Iterator[tuple[str, Any]]:
    """Yield the names and values of a container; nothing of other values."""
    if isinstance(output, Mapping):
        yield from ((str(key), value) for key, value in output.items())
    elif isinstance(output, Sequence) and not isinstance(output, str | bytes):
        yield from zip(getattr(output, "_fields", map(str, range(len(output)))), output, strict=True)
    elif is_dataclass(output) and not isinstance(output, type):
        yield from ((field.name, getattr(output, field.name)) for field in fields(output))
    elif hasattr(output, "__dict__") and not isinstance(output, type | torch.nn.Module):
        yield from vars(output).items()


def _named_tensor(tensors: Mapping[str, Tensor], items: Sequence[tuple[str, Any]], name: str | int) -> Tensor:
    """Return the tensor of a name, or of a position at the top level."""
    if str(name) in tensors:
        return tensors[str(name)]
    position = int(name) if str(name).isdecimal() else -1
    if 0 <= position < len(items) and isinstance(items[position][1], Tensor):
        return items[position][1]
    raise ConfigError(
        f"output={name}: there is no such tensor in the network's output.{nearest_name(str(name), tensors)} "
        f"It holds {_listed(tensors) or 'none'}."
    )


def _listed(tensors: Mapping[str, Tensor]) -> str:
    return ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in tensors.items())
