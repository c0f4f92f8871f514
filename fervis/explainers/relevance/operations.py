"""Propagation of relevance through operations other than linear layers: sums, poolings, activations, reshaping."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from fervis.errors import ConfigError
from fervis.explainers.relevance.lrp_rules import STABILIZER, per_image, stabilized
from fervis.explainers.relevance.tape import Operation, Value

Flow = Callable[[list[Tensor]], tuple[dict[Value, Tensor], Tensor]]
"""From the relevance of an operation's outputs to that of its inputs, and what stabilisers absorbed, [N]."""

# Functions of one value that are 0 at 0: an input is all that its output comes from.
_PASSING = {
    "relu",
    "leaky_relu",
    "prelu",
    "_prelu_kernel",
    "elu",
    "silu",
    "gelu",
    "mish",
    "hardswish",
    "hardtanh",
    "tanh",
}
_UNCHANGED = {"_to_copy", "neg", "dropout", "native_dropout", "contiguous"}
# Each output is one of the inputs, or the inputs are rearranged: the gradient gives the mapping.
_ROUTES = {
    *("max_pool2d_with_indices", "max_pool3d_with_indices", "adaptive_max_pool2d", "amax", "max", "maximum"),
    *(
        "view",
        "_unsafe_view",
        "reshape",
        "flatten",
        "unflatten",
        "_reshape_alias",
        "t",
        "transpose",
        "permute",
        "expand",
    ),
    *(
        "squeeze",
        "unsqueeze",
        "select",
        "slice",
        "narrow",
        "split",
        "split_with_sizes",
        "chunk",
        "unbind",
        "cat",
        "stack",
    ),
    *("constant_pad_nd", "reflection_pad2d", "replication_pad2d", "flip", "roll", "repeat", "index", "index_select"),
    *("gather", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "where"),
}
# Averages and sums with weights that are not learned.
_AVERAGES = {
    *("mean", "sum", "avg_pool2d", "avg_pool3d", "_adaptive_avg_pool2d", "_adaptive_avg_pool3d"),
    *("upsample_nearest2d", "upsample_bilinear2d", "_upsample_bilinear2d_aa", "upsample_bicubic2d"),
}
RESHAPES = {"view", "_unsafe_view", "_reshape_alias", "reshape"}
_GATES = {"sigmoid", "hardsigmoid"}


def flow_of(operation: Operation) -> Flow:
    """Return how relevance passes through an operation.

    Raises:
        ConfigError: no rule covers the operation.
    """
    name, operands = operation.name, operation.operands
    constant = name == "div" and not isinstance(operation.args[0], Value)  # a constant divided by the value
    if len(operands) == 1 and name in _PASSING | _UNCHANGED | {"add", "sub", "rsub", "mul", "div"} and not constant:
        return _unchanged(operation)
    if name in RESHAPES:
        return _reshaped(operation)
    if name == "max_pool2d_with_indices":
        return _max_pooled(operation)
    if name in _ROUTES and not operation.in_place:
        return _routed(operation)
    if name in _AVERAGES and len(operands) == 1:
        return _averaged(operation)
    if name in {"add", "sub"} and all(isinstance(argument, Value) for argument in operation.args[:2]):
        return _summed(operation)
    if name == "mul" and len(operands) == 2 and (signal := _signal(operands)):
        return lambda relevance: ({signal: relevance[0]}, _nothing(relevance[0]))
    where = f" in {operation.module}" if operation.module else ""
    raise ConfigError(
        f"explainer=lrp: no rule covers {name}{where}; expected a network of convolutions, linear layers, BatchNorm, "
        "poolings, sums and activations. Use explainer=input_x_gradient instead."
    )


def _nothing(relevance: Tensor) -> Tensor:
    return relevance.new_zeros(len(relevance))


def _unchanged(operation: Operation) -> Flow:
    """All relevance goes to the one input, also where a constant is added to it or multiplied by it."""
    (value,) = operation.inputs
    shape = value.tensor.shape
    return lambda relevance: ({value: relevance[0].sum_to_size(shape)}, _nothing(relevance[0]))


def _reshaped(operation: Operation) -> Flow:
    """Relevance has the shape of the values; their order in memory does not matter."""
    (value,) = operation.inputs
    return lambda relevance: ({value: relevance[0].reshape(value.tensor.shape)}, _nothing(relevance[0]))


def _summed(operation: Operation) -> Flow:
    """The summands share in proportion to what they add."""
    first, second = operation.args[:2]
    factor = operation.kwargs.get("alpha", 1) * (-1 if operation.name == "sub" else 1)
    total = operation.output.tensor
    divisor = stabilized(total, STABILIZER)

    def flow(relevance: list[Tensor]) -> tuple[dict[Value, Tensor], Tensor]:
        rate = relevance[0] / divisor
        shares = [(first, first.tensor * rate), (second, factor * second.tensor * rate)]
        passed: dict[Value, Tensor] = {}
        for value, share in shares:  # both may be the same value
            share = share.sum_to_size(value.tensor.shape)
            passed[value] = passed[value] + share if value in passed else share
        return passed, per_image(rate * (divisor - total))

    return flow


def _signal(factors: list[Value]) -> Value | None:
    """Return the factor that is not a gate, which takes all relevance (Arras et al. 2017, arXiv:1706.07206)."""
    gates = [value for value in factors if _is_gate(value)]
    return next(value for value in factors if value is not gates[0]) if len(gates) == 1 else None


def _is_gate(value: Value) -> bool:
    """Whether a value is the output of a sigmoid, in any shape."""
    while value.producer and value.producer.name in RESHAPES | {"unsqueeze", "expand", "permute", "transpose"}:
        (value,) = value.producer.inputs
    return value.producer is not None and value.producer.name in _GATES


def _pulled_back(operation: Operation) -> tuple[list[Value], Callable[[list[Tensor]], list[Tensor]]]:
    """Return the inputs of an operation and the transposed Jacobian at them, as a function of all outputs."""
    inputs = operation.inputs
    with torch.enable_grad():
        leaves = {value: value.tensor.detach().requires_grad_() for value in inputs}
        args, kwargs = tree_map(
            lambda leaf: leaves.get(leaf, leaf) if isinstance(leaf, Value) else leaf, (operation.args, operation.kwargs)
        )
        results = tree_leaves(operation.function(*args, **kwargs))
    outputs = [result for result, value in zip(results, operation.outputs, strict=True) if value is not None]

    def pull(values: list[Tensor]) -> list[Tensor]:
        return list(torch.autograd.grad(outputs, list(leaves.values()), values, retain_graph=True))

    return inputs, pull


def _routed(operation: Operation) -> Flow:
    """Relevance takes the way of the values."""
    inputs, pull = _pulled_back(operation)
    return lambda relevance: (dict(zip(inputs, pull(relevance), strict=True)), _nothing(relevance[0]))


def _max_pooled(operation: Operation) -> Flow:
    """The winners of the pass take all."""
    value, *settings = operation.args
    padded = [*settings, *[[], 0, 1, False][len(settings) - 1 :]]

    def flow(relevance: list[Tensor]) -> tuple[dict[Value, Tensor], Tensor]:
        backward = torch.ops.aten.max_pool2d_with_indices_backward
        return {value: backward(relevance[0], value.tensor, *padded, operation.results[1])}, _nothing(relevance[0])

    return flow


def _averaged(operation: Operation) -> Flow:
    """Inputs share in proportion to what they add to each average."""
    (value,), pull = _pulled_back(operation)
    total = operation.output.tensor
    divisor = stabilized(total, STABILIZER)

    def flow(relevance: list[Tensor]) -> tuple[dict[Value, Tensor], Tensor]:
        rate = relevance[0] / divisor
        return {value: value.tensor * pull([rate])[0]}, per_image(
            rate * torch.where(total < 0, -STABILIZER, STABILIZER)
        )

    return flow
