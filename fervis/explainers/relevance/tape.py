"""A tape of a forward pass: which elementary operation computed which value from which others.

Modules, functions and methods of tensors all end in the same few elementary operations of torch, so that ``nn.ReLU``,
``F.relu`` and ``x.relu_()`` are one entry, a module that runs twice is two, and ``x + y`` cannot be overlooked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from fervis.errors import ConfigError

_COPIES = {"clone", "detach", "alias", "lift_fresh"}  # what they return is the same value

Operator = Callable[..., Any]
Key = tuple[Any, ...]


@dataclass(eq=False)
class Value:
    """A tensor at one point of the pass; an in-place operation creates another value.

    Attributes:
        tensor: its content at that point.
        producer: the operation that computed it; None for the start of the tape.
        consumers: the operations that took it.
    """

    tensor: Tensor
    producer: Operation | None = None
    consumers: list[Operation] = field(default_factory=list)


@dataclass(eq=False)
class Operation:
    """An elementary operation of the pass.

    Attributes:
        function: torch's operator.
        args: its arguments; a ``Value`` where they depend on the start of the tape.
        kwargs: its named arguments.
        module: dotted path of the innermost module that it ran in.
        results: what it returned, flattened.
        outputs: those of the results that are values, None for others, such as indices.
    """

    function: Operator
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    module: str
    results: list[Any] = field(default_factory=list)
    outputs: list[Value | None] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The operator's name, the same in place and not, such as ``relu``."""
        return _name_of(self.function)

    @property
    def in_place(self) -> bool:
        """Whether it changed one of its arguments."""
        return any(_written(self.function))

    @property
    def inputs(self) -> list[Value]:
        """The values that it took, each once."""
        return list(dict.fromkeys(self.operands))

    @property
    def operands(self) -> list[Value]:
        """The values that it took, in the order of its arguments."""
        return [leaf for leaf in tree_leaves((self.args, self.kwargs)) if isinstance(leaf, Value)]

    @property
    def output(self) -> Value:
        """Its only or first output."""
        return next(output for output in self.outputs if output is not None)


class Tape(TorchDispatchMode):
    """Record the operations that run inside and depend on the tensors that were given to ``begin``."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[Operation] = []
        self.modules: list[str] = []
        self._values: dict[Key, Value] = {}
        self._stale: set[Key] = set()
        self._tensors: list[Tensor] = []  # held, so that their memory, by which values are known, is not used again

    def begin(self, tensor: Tensor) -> Value:
        """Start the tape at a tensor."""
        return self._add(tensor, Value(tensor))

    def value(self, tensor: Tensor) -> Value | None:
        """Return the value that a tensor is at present; None if it does not depend on the start."""
        key = _memory_of(tensor)
        if key in self._stale:
            raise ConfigError(
                f"{self._where()}: it reads a tensor of which a part was changed in place; expected a copy."
            )
        return self._values.get(key)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operation and record it if it depends on the start of the tape."""
        kwargs = kwargs or {}
        args_of_values, kwargs_of_values = tree_map(self._as_value, (args, kwargs))
        operation = Operation(func, args_of_values, kwargs_of_values, self.modules[-1] if self.modules else "")
        if not operation.inputs:
            return func(*args, **kwargs)
        if operation.name == "as_strided" and _memory_of(args[0]) == _memory_of(
            torch.as_strided(args[0].detach(), *args[1:])
        ):
            return func(*args, **kwargs)  # only strides change that address nothing
        for argument, changed in zip(args, _written(func), strict=False):
            if changed and isinstance(argument, Tensor):
                self._preserve(argument)
        returned = func(*args, **kwargs)
        if operation.name in _COPIES:
            self._add(returned, operation.inputs[0])
            return returned
        for result in tree_leaves(returned):
            depends = isinstance(result, Tensor) and result.is_floating_point() and result.numel() > 0
            operation.results.append(result)
            operation.outputs.append(self._add(result, Value(result, operation)) if depends else None)
        if any(operation.outputs):
            for value in operation.inputs:
                value.consumers.append(operation)
            self.operations.append(operation)
        return returned

    def _add(self, tensor: Tensor, value: Value) -> Value:
        key = _memory_of(tensor)
        self._values[key] = value
        self._stale.discard(key)
        self._tensors.append(tensor)
        return value

    def _as_value(self, leaf: Any) -> Any:
        known = self.value(leaf) if isinstance(leaf, Tensor) else None
        return leaf if known is None else known

    def _preserve(self, changed: Tensor) -> None:
        """Copy the values in the memory of a tensor that is about to change; they cannot be read from it any longer."""
        memory = _memory_of(changed)[0]
        for key in [key for key in self._values if key[0] == memory]:
            value = self._values.pop(key)
            if _memory_of(value.tensor)[0] == memory:
                value.tensor = value.tensor.clone()
            self._stale.add(key)

    def _where(self) -> str:
        return f"module {self.modules[-1]}" if self.modules and self.modules[-1] else "model"


def _memory_of(tensor: Tensor) -> Key:
    """Return what identifies a tensor: its memory, and its shape and strides within it."""
    memory = tensor.untyped_storage().data_ptr()
    # The stride of an axis of one position addresses nothing.
    strides = tuple(stride for stride, size in zip(tensor.stride(), tensor.shape, strict=True) if size > 1)
    return memory, tensor.dtype, tensor.storage_offset(), tuple(tensor.shape), strides


@cache
def _name_of(function: Any) -> str:
    return function._schema.name.removeprefix("aten::").rstrip("_")


@cache
def _written(function: Any) -> tuple[bool, ...]:
    """Return for each positional argument of an operator whether it is changed."""
    arguments = function._schema.arguments
    return tuple(argument.alias_info is not None and argument.alias_info.is_write for argument in arguments)


@contextmanager
def recording(model: nn.Module) -> Iterator[Tape]:
    """Record the passes of a network inside, with the names of its modules."""
    tape = Tape()
    with tape, ExitStack() as hooks:
        for path, module in model.named_modules():
            hooks.callback(module.register_forward_pre_hook(partial(_entered, tape, path)).remove)
            hooks.callback(module.register_forward_hook(partial(_left, tape)).remove)
        yield tape


def _entered(tape: Tape, path: str, *_: object) -> None:
    tape.modules.append(path)


def _left(tape: Tape, *_: object) -> None:
    tape.modules.pop()
