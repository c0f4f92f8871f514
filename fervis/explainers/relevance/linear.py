"""Linear layers of a tape: convolutions and matrix products, with the BatchNorms around them merged into them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from fervis.errors import ConfigError
from fervis.explainers.relevance.tape import Operation, Tape, Value

_aten = torch.ops.aten
NORMALIZATIONS = {"native_batch_norm", "cudnn_batch_norm", "miopen_batch_norm", "_native_batch_norm_legit_no_training"}
PRODUCTS = {"addmm", "mm", "linear"}
Linear = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class LinearLayer:
    """A linear layer ``z = apply(x, weight) + bias``.

    Attributes:
        x: [N,...] its input.
        output: [N,...] its output in the pass.
        weight: its weight.
        bias: of the output's shape, broadcast; or None.
        apply: (input, weight) -> output, without the bias.
        adjoint: (values at the output, weight) -> values at the input.
        kind: ``conv`` for a convolution, ``product`` for a matrix product, ``scale`` for a BatchNorm alone.
        groups: of a convolution.
        transposed: whether it is a transposed convolution.
    """

    x: Tensor
    output: Tensor
    weight: Tensor
    bias: Tensor | None
    apply: Linear
    adjoint: Linear
    kind: str
    groups: int = 1
    transposed: bool = False

    def scaled(self, output: Tensor, scale: Tensor, shift: Tensor) -> LinearLayer:
        """Return the layer with a BatchNorm behind it merged: ``output = scale * z + shift`` for each channel."""
        if self.kind == "product":
            weight, shape = self.weight * scale, (1, -1)
        else:
            weight = self.weight * scale.view(-1, *[1] * (self.weight.ndim - 1))
            shape = (1, -1, *[1] * (self.weight.ndim - 2))
        bias = shift.view(shape) if self.bias is None else shift.view(shape) + self.bias * scale.view(shape)
        return replace(self, output=output, weight=weight, bias=bias)

    def fed_by(self, x: Tensor, scale: Tensor, shift: Tensor) -> LinearLayer:
        """Return the layer with a BatchNorm of ``x`` in front of it merged.

        The bias is what the layer computes of the shift; where a convolution pads with zeros it differs at the border.
        """
        one = shift.view(1, -1, *[1] * (x.ndim - 2)).expand(1, *x.shape[1:])
        bias = self.apply(one, self.weight)
        if self.kind == "product":
            weight = self.weight * scale[:, None]
        else:
            inputs = scale.view(self.groups, 1, -1, *[1] * (self.weight.ndim - 2))
            weight = (self.weight.unflatten(0, (self.groups, -1)) * inputs).flatten(0, 1)
        return replace(self, x=x, weight=weight, bias=bias if self.bias is None else bias + self.bias)


def linear_layer(operation: Operation) -> LinearLayer | None:
    """Return the linear layer that an operation is; None if it is another, or its weight depends on the image."""
    if operation.name == "convolution":
        return _convolution(operation.output.tensor, *operation.args)
    if operation.name not in PRODUCTS:
        return None
    bias, (x, weight) = None, operation.args[:2]
    if operation.name == "addmm":
        bias, x, weight = operation.args
    if operation.name == "linear":
        bias, weight = operation.args[2] if len(operation.args) > 2 else None, weight.t()
    if not isinstance(x, Value) or isinstance(weight, Value) or isinstance(bias, Value) or operation.kwargs:
        return None
    output = operation.output.tensor
    return LinearLayer(x.tensor, output, weight, bias, torch.matmul, lambda z, w: torch.matmul(z, w.t()), "product")


def _convolution(output: Tensor, x: Any, weight: Any, bias: Any, *settings: Any) -> LinearLayer | None:
    if not isinstance(x, Value) or isinstance(weight, Value) or isinstance(bias, Value):
        return None
    given, output, weight = (_channels_last(tensor) for tensor in (x.tensor, output, weight))
    (*_, transposed, _padding, groups) = settings

    def apply(x: Tensor, weight: Tensor) -> Tensor:
        return _aten.convolution(x, weight, None, *settings)

    def adjoint(z: Tensor, weight: Tensor) -> Tensor:
        return _aten.convolution_backward(z, given, weight, None, *settings, [True, False, False])[0]

    offset = None if bias is None else bias.view(1, -1, *[1] * (weight.ndim - 2))
    return LinearLayer(given, output, weight, offset, apply, adjoint, "conv", groups, transposed)


def _channels_last(tensor: Tensor) -> Tensor:
    """Return an image's tensor with channels last in memory, with which processors convolve fastest."""
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


def normalization(operation: Operation) -> tuple[Value, Tensor, Tensor]:
    """Return the input of a BatchNorm in eval mode, and per channel its factor and its shift.

    Raises:
        ConfigError: it normalises by the statistics of the batch, or its settings depend on the image.
    """
    x, weight, bias, mean, variance, *rest = operation.args
    training = operation.name != "_native_batch_norm_legit_no_training" and rest[0]
    if training or mean is None or any(isinstance(value, Value) for value in operation.args[1:]):
        raise ConfigError(
            f"explainer=lrp: {operation.module} normalises by the statistics of the batch, for which there is no rule; "
            "expected BatchNorm with running statistics. Use explainer=input_x_gradient instead."
        )
    scale = (variance + rest[-1]).rsqrt() * (1 if weight is None else weight)
    return x, scale, -mean * scale + (0 if bias is None else bias)


def _alone(x: Tensor, output: Tensor, scale: Tensor, shift: Tensor) -> LinearLayer:
    """Return a BatchNorm alone: a linear layer of each channel separately."""
    shape = (1, -1, *[1] * (x.ndim - 2))
    return LinearLayer(x, output, scale.view(shape), shift.view(shape), torch.mul, torch.mul, "scale")


def merged_layers(tape: Tape, fixed: Value) -> tuple[dict[Operation, LinearLayer], set[Operation]]:
    """Return the linear layers of a tape with their BatchNorms merged, and the BatchNorms that were merged.

    A BatchNorm is merged into the layer before it if nothing else reads that layer's output, otherwise into the
    convolutions or products behind it if nothing else reads its own. A BatchNorm between two other operations is a
    linear layer by itself.

    Args:
        tape: of a pass.
        fixed: a value that remains a separate layer: the target, which the layer's own weights compute.
    """
    layers = {operation: layer for operation in tape.operations if (layer := linear_layer(operation))}
    merged: set[Operation] = set()
    for operation in tape.operations:
        if operation.name not in NORMALIZATIONS:
            continue
        source, scale, shift = normalization(operation)
        before, after = layers.get(source.producer) if source.producer else None, operation.output.consumers
        own_reader = source.consumers == [operation] and source is not fixed
        readers = operation.output is not fixed and after and all(_takes_merge(layers.get(reader)) for reader in after)
        if source.producer and before and own_reader and _takes_merge(before):
            layers[source.producer] = before.scaled(_channels_last(operation.output.tensor), scale, shift)
            merged.add(operation)
        elif readers:
            for reader in after:
                layers[reader] = layers[reader].fed_by(_channels_last(source.tensor), scale, shift)
            merged.add(operation)
        else:
            layers[operation] = _alone(source.tensor, operation.output.tensor, scale, shift)
    return layers, merged


def _takes_merge(layer: LinearLayer | None) -> bool:
    """Whether a BatchNorm next to the layer can be merged into it."""
    if layer is None or layer.kind == "scale" or layer.transposed:
        return False
    return layer.kind == "conv" or layer.x.ndim == 2
