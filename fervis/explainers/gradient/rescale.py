"""DeepLIFT's multipliers: how an operation's output differs from that of a baseline, per difference of its input.

A pass of the baselines is recorded, function by function. In the pass of the images, each operation that is not affine
keeps its value but gets another derivative, so that differences of outputs are exactly derivatives times differences of
inputs:

- an activation: Δout / Δin, the rescale rule; its own derivative where Δin is 0.
- max pooling: the part of Δout that the image's largest value gained and the part that the baseline's lost, each at its
  own position (as captum; where windows overlap, the parts of one position are added).
- a product of two things that both depend on the image, such as a gate: Δ(ab) = Δa (b + b')/2 + Δb (a + a')/2.
- LayerNorm, as a centring, an activation of the variance, and a product.

Functions are seen through a ``TorchFunctionMode``, so that ``F.relu`` and ``nn.ReLU`` are the same. Softmax, GroupNorm
and whatever else is not affine pass their own derivative, which leaves a gap of completeness.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from fervis.errors import ConfigError

Call = tuple[str, list[Tensor], Tensor]  # name, input tensors, output
_EQUAL = 1e-10  # differences below are 0, as in captum
_POOLS: dict[str, Callable[..., Any]] = {
    "max_pool1d": F.max_pool1d,
    "max_pool2d": F.max_pool2d,
    "max_pool3d": F.max_pool3d,
    "adaptive_max_pool1d": F.adaptive_max_pool1d,
    "adaptive_max_pool2d": F.adaptive_max_pool2d,
}
_BILINEAR = frozenset({"mul", "matmul", "bmm"})
_ELEMENTWISE = frozenset(
    {
        *(
            "relu",
            "relu6",
            "leaky_relu",
            "prelu",
            "rrelu",
            "threshold",
            "clamp_min",
            "clamp",
            "hardtanh",
            "elu",
            "selu",
        ),
        *("celu", "gelu", "silu", "mish", "softplus", "hardswish", "hardsigmoid", "sigmoid", "tanh", "logsigmoid"),
        *("softsign", "exp", "log", "square", "sqrt", "rsqrt", "reciprocal", "abs"),
    }
)


class Multipliers(TorchFunctionMode):
    """Record the pass of the baselines, then give the operations of the images' pass their multipliers."""

    def __init__(self) -> None:
        super().__init__()
        self._baseline: list[Call] = []
        self._position: int | None = None  # in the record; None while recording

    def forward(self) -> AbstractContextManager[object]:
        """Rule the functions of the images' pass."""
        self._position = 0
        return self

    def attach(self, scores: Tensor) -> None:
        """Check that the passes called the same functions."""
        if self._position != len(self._baseline):
            raise _differs("the end")

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = str(getattr(func, "__name__", "")).rstrip("_")
        ruled = name in _ELEMENTWISE or name in _POOLS or name == "layer_norm"
        inputs = list(args[: 1 if ruled else 2])
        both = name in _BILINEAR and len(inputs) == 2 and all(isinstance(value, Tensor) for value in inputs)
        if not inputs or not (ruled or both):
            return func(*args, **kwargs)
        copies = [value.clone() for value in inputs]  # before the operation, which may work in place
        replaces = self._position is not None and all(value.requires_grad for value in inputs)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not replaces):
            output = func(*args, **kwargs)
        if self._position is None:
            self._baseline.append((name, copies, output.clone()))
            return output
        base_inputs, base_output = self._recorded(name, output)
        if not replaces:
            return output
        derivative = _derivative(name, copies, base_inputs, output, base_output, func, args, kwargs)
        value = _WithDerivative.apply(output, derivative)
        return args[0].copy_(value) if output is args[0] else value

    def _recorded(self, name: str, output: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return what went into and came out of the same operation in the baselines' pass."""
        if self._position == len(self._baseline):
            raise _differs(name)
        before, base_inputs, base_output = self._baseline[self._position or 0]
        self._position = (self._position or 0) + 1
        if before != name or base_output.shape != output.shape:
            raise _differs(name)
        return base_inputs, base_output


def _derivative(
    name: str,
    inputs: list[Tensor],
    base_inputs: list[Tensor],
    output: Tensor,
    base_output: Tensor,
    func: Any,
    args: Any,
    kwargs: dict[str, Any],
) -> Tensor:
    """Return a tensor of the output's shape whose derivative is the operation's multiplier."""
    x, base = inputs[0], base_inputs[0]
    if name in _BILINEAR:
        other, base_other = inputs[1], base_inputs[1]
        return func(x, (other + base_other).detach() / 2) + func((x + base).detach() / 2, other)
    if name in _POOLS:
        return _pooled(_POOLS[name], x, base, output, base_output, args[1:], kwargs)
    if name == "layer_norm":
        return _normalised(x, base, *_norm_arguments(*args[1:], **kwargs))
    return x * _slope(lambda point: func(point, *args[1:], **kwargs), x, base, output - base_output)


class _WithDerivative(torch.autograd.Function):
    """The value of one tensor, with the derivative of another."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, derivative: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *arriving: Tensor) -> tuple[None, Tensor]:
        return None, arriving[0]


def _slope(function: Callable[[Tensor], Tensor], x: Tensor, base: Tensor, gained: Tensor) -> Tensor:
    """Return Δout / Δin, and the function's own derivative where Δin is 0."""
    point = x.detach().clone().requires_grad_()
    (own,) = torch.autograd.grad(function(point.clone()).sum(), point)
    difference = (x - base).detach()
    equal = difference.abs() < _EQUAL
    return torch.where(equal, own, gained.detach() / torch.where(equal, 1, difference))


def _pooled(
    pool: Any, x: Tensor, base: Tensor, output: Tensor, base_output: Tensor, args: Any, kwargs: dict[str, Any]
) -> Tensor:
    """Return a combination of the values at the image's and the baseline's largest positions."""
    axes = int(pool.__name__[-2])  # 2 for max_pool2d
    shape = output.shape[-axes:]
    kwargs = {**kwargs, "return_indices": True}
    positions, base_positions = (pool(values.detach(), *args, **kwargs)[1].flatten(-axes) for values in (x, base))
    flat, difference = x.flatten(-axes), (x - base).detach().flatten(-axes)
    output, base_output = (values.detach().flatten(-axes) for values in (output, base_output))
    larger = torch.maximum(output, base_output)

    def share(gained: Tensor, where: Tensor, otherwise: float) -> Tensor:
        moved = difference.gather(-1, where)
        equal = moved.abs() < _EQUAL
        return torch.where(equal, otherwise, gained / torch.where(equal, 1, moved))

    taken = flat.gather(-1, positions) * share(larger - base_output, positions, 1.0)
    lost = flat.gather(-1, base_positions) * share(output - larger, base_positions, 0.0)
    return (taken + lost).unflatten(-1, shape)


def _norm_arguments(shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> tuple[int, Any, float]:
    return len(shape), weight, eps


def _normalised(x: Tensor, base: Tensor, count: int, weight: Tensor | None, eps: float) -> Tensor:
    """Return LayerNorm over the last ``count`` axes, less its bias: of Δ(c²) = Δc (c + c'), 1/√v and products."""
    axes = tuple(range(-count, 0))
    centred, base_centred = (values - values.mean(axes, keepdim=True) for values in (x, base))
    variance = (centred * (centred + base_centred).detach()).mean(axes, keepdim=True)
    own, other = ((values.detach().square().mean(axes, keepdim=True) + eps) for values in (centred, base_centred))
    scale, base_scale = own.rsqrt(), other.rsqrt()
    equal = (own - other).abs() < _EQUAL
    slope = torch.where(equal, -0.5 * own**-1.5, (scale - base_scale) / torch.where(equal, 1, own - other))
    result = centred * (scale + base_scale) / 2 + (centred + base_centred).detach() / 2 * variance * slope
    return result if weight is None else result * weight


def _differs(name: str) -> ConfigError:
    return ConfigError(
        f"explainer=deep_lift: the network computes otherwise for the baseline than for the images (at {name}), so "
        "that they cannot be compared step by step; use explainer=integrated_gradients."
    )
