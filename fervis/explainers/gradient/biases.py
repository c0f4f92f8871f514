"""Gradients of biases: what every operation of a network adds to a target beyond what passes through it.

Every operation is, around its input, the affine function ``out = J in + b`` with its derivative ``J``. ``b`` is the
bias of a convolution or linear layer, and implicit in others: ``β - γ mean / deviation`` for BatchNorm in eval mode,
``-mean`` for a normalisation of the pixels, ``φ(z) - z φ'(z)`` for an activation, which is 0 for ReLU (Srinivas and
Fleuret 2019, section 3). Hence ``target = x · ∂/∂x + Σ b · ∂/∂out`` over all operations, exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_unflatten

_LAYERS = frozenset({"conv1d", "conv2d", "conv3d", "conv_transpose2d", "linear", "batch_norm"})
_SUMS = frozenset({"add", "sub", "__radd__", "__rsub__", "rsub", "cat", "stack"})
_BENT = frozenset(
    {
        *("gelu", "silu", "mish", "softplus", "hardswish", "hardsigmoid", "sigmoid", "tanh", "elu", "selu", "celu"),
        *(
            "relu6",
            "hardtanh",
            "clamp",
            "logsigmoid",
            "softsign",
            "exp",
            "log",
            "square",
            "sqrt",
            "rsqrt",
            "reciprocal",
        ),
    }
)
_CURVED = frozenset(
    {
        *("softmax", "layer_norm", "group_norm", "instance_norm", "scaled_dot_product_attention", "glu", "pow"),
        *("__pow__", "mul", "__rmul__", "div", "true_divide", "__rtruediv__", "matmul", "bmm", "einsum"),
    }
)
_PRODUCTS = frozenset({"mul", "__rmul__", "matmul", "bmm", "einsum"})  # linear in each of their operands


class BiasGradients(TorchFunctionMode):
    """Collect bias times gradient of every operation of one forward pass, in each of its backward passes.

    Args:
        map_of: products [N,c,h,w] -> map [N,h,w].
    """

    def __init__(self, map_of: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.map_of = map_of
        self._sum: Tensor | float = 0.0
        self._maps: list[Tensor] = []

    def forward(self) -> AbstractContextManager[object]:
        """Watch the functions of the forward pass."""
        return self

    def attach(self, scores: Tensor) -> None:
        """Do nothing: hooks are registered where an operation has a bias."""

    def take(self) -> tuple[Tensor | float, list[Tensor]]:
        """Return the sum [N] of bias times gradient in the last backward pass, and the maps of outputs [N,c,h,w]."""
        taken = self._sum, self._maps
        self._sum, self._maps = 0.0, []
        return taken

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        bias = None if not torch.is_grad_enabled() else bias_of(func, args, kwargs)
        output = func(*args, **kwargs)
        if bias is not None and isinstance(output, Tensor) and output.grad_fn is not None:
            output.grad_fn.register_prehook(lambda arriving: self._collect(bias, arriving[0]))
        return output

    def _collect(self, bias: Tensor, gradient: Tensor) -> None:
        product = bias * gradient
        self._sum = self._sum + product.flatten(1).double().sum(1)
        if product.ndim == 4:
            self._maps.append(self.map_of(product))


def bias_of(func: Any, args: Any, kwargs: Any) -> Tensor | None:
    """Return the bias of an operation at its arguments, or what broadcasts to its output; None where it is 0."""
    name = str(getattr(func, "__name__", ""))
    name = name if name.endswith("__") else name.rstrip("_")
    if name not in _LAYERS | _SUMS | _BENT | _CURVED:
        return None
    values, tree = tree_flatten((args, kwargs))
    passed = [number for number, value in enumerate(values) if isinstance(value, Tensor) and value.requires_grad]
    tensors = sum(isinstance(value, Tensor) for value in values)
    if not passed or _is_linear(name, len(passed), tensors):
        return None

    def local(*inputs: Tensor) -> Tensor:
        # Copies, since the operation may work in place.
        replaced = dict(zip(passed, (value.clone() for value in inputs), strict=True))
        arguments, keywords = tree_unflatten([replaced.get(i, value) for i, value in enumerate(values)], tree)
        return func(*arguments, **keywords)

    points = tuple(values[number].detach() for number in passed)
    with torch.no_grad():
        if name in _LAYERS:  # affine, and the same for every image
            return local(*(torch.zeros_like(point[:1]) for point in points))
        if name in _SUMS:
            return local(*(torch.zeros_like(point) for point in points))
    return _bend(local, *points) if name in _BENT else _intercept(local, points)


def _is_linear(name: str, passed: int, tensors: int) -> bool:
    """Return whether an operation has no bias, from how many of its tensors depend on the pixels."""
    if name in _SUMS:
        return passed == tensors and (tensors > 1 or name in ("cat", "stack"))
    if name in _LAYERS:
        return name != "batch_norm" and tensors < 3
    return name in _PRODUCTS and passed == 1


def _bend(activation: Callable[[Tensor], Tensor], point: Tensor) -> Tensor:
    """Return φ(z) - z φ'(z) of an activation."""
    with torch.enable_grad():
        output = activation(point.requires_grad_())
        (slope,) = torch.autograd.grad(output.sum(), point)
    return output.detach() - point.detach() * slope


def _intercept(local: Callable[..., Tensor], points: tuple[Tensor, ...]) -> Tensor:
    """Return f(z) - f'(z) z, whose second term is the derivative, in a direction v, of the gradient along v.

    ``torch.func.jvp`` would compile functions at its first use.
    """
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):  # other kernels of attention have no second derivative
        points = tuple(point.requires_grad_() for point in points)
        output = local(*points)
        along = torch.zeros_like(output, requires_grad=True)
        slopes = torch.autograd.grad(output, points, along, create_graph=True)
        (through,) = torch.autograd.grad(slopes, along, points)
    return output.detach() - through
