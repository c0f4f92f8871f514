"""Objectives of activation maximization: a filter's output or a class's logit, one per image."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn

from fervis.core.layers import Layer, spatial
from fervis.errors import ConfigError
from fervis.models.fast_inference import fused
from fervis.models.hooks import frozen

Values = Callable[[Tensor], Tensor]
"""From [N,C,H,W] images to [N] values, image n's own objective."""

Position = str | tuple[int, int]


class _LayerReached(Exception):
    """The pass has reached the layer at which it ends."""


def check_position(spec: Any) -> Position:
    """Return what ``objective=`` means: ``mean``, ``centre``, or a position (row, column) of the layer's map.

    Raises:
        ConfigError: another form.
    """
    if spec in ("mean", "centre"):
        return str(spec)
    value = list(spec) if isinstance(spec, Sequence) and not isinstance(spec, str) else spec
    if isinstance(value, list) and len(value) == 2 and all(type(number) is int and number >= 0 for number in value):
        return value[0], value[1]
    raise ConfigError(f"explainer.objective={value}: expected mean, centre, or a position [row,column] of the map.")


def at_position(maps: Tensor, position: Position, layer: str) -> Tensor:
    """Return the objective of each map [...,h,w]: its mean, or its value at one position.

    The centre of an even number of positions is the one after the middle, as in Lucid.

    Raises:
        ConfigError: the map has no such position.
    """
    if position == "mean":
        return maps.mean((-2, -1))
    height, width = maps.shape[-2:]
    row, column = (height // 2, width // 2) if isinstance(position, str) else position
    if row >= height or column >= width:
        raise ConfigError(
            f"explainer.objective=[{row},{column}]: the map of {layer} has {height} rows and {width} columns, from 0."
        )
    return maps[..., row, column]


@contextmanager
def filter_values(
    model: nn.Module, layer: Layer, filters: Sequence[int], position: Position, dtype: torch.dtype | None = None
) -> Iterator[Values]:
    """Yield the objective of filter n for image n, from passes that end at the layer; the model is left unchanged.

    At a plain convolution the pass ends before it: the output of a filter is linear in the convolution's input.

    Args:
        model: any network.
        layer: the filters' layer.
        filters: N filters' numbers, for as many images.
        position: as ``check_position`` returns it.
        dtype: fuse the network for passes in this precision; None computes as the network does.
    """
    module = model.get_submodule(layer.path)
    convolution = module if isinstance(module, nn.Conv2d) and _is_plain(module) else None
    captured: list[Tensor] = []
    linear: dict[torch.Size, Values] = {}

    def stop(output: Any) -> None:
        if not isinstance(output, Tensor):
            raise ConfigError(f"layer={layer.name}: its output is a {type(output).__name__}, expected one tensor.")
        captured.append(output)
        raise _LayerReached

    def values(images: Tensor) -> Tensor:
        with suppress(_LayerReached):
            # A network that changes its input in place changes the copy.
            model(images.clone())
        activation = captured.pop()
        if convolution is None:
            return at_position(spatial(activation, layer)[range(len(filters)), list(filters)], position, layer.name)
        if activation.shape not in linear:
            linear[activation.shape] = _linear_values(convolution, filters, position, layer.name, activation)
        return linear[activation.shape](activation)

    if convolution is None:
        handle = module.register_forward_hook(lambda _module, _inputs, output: stop(output))
    else:
        handle = module.register_forward_pre_hook(lambda _module, inputs: stop(inputs[0]))
    try:
        with frozen(model), ExitStack() as stack:
            yield _fused_values(values, model, dtype, module, stack) if dtype else values
    finally:
        handle.remove()


def _fused_values(values: Values, model: nn.Module, dtype: torch.dtype, spare: nn.Module, stack: ExitStack) -> Values:
    """Return the values from a network that is fused at the first images, for as long as the stack is open."""
    is_fused = False

    def compute(images: Tensor) -> Tensor:
        nonlocal is_fused
        if not is_fused:
            is_fused = True
            with torch.autocast(images.device.type, enabled=False):
                stack.enter_context(fused(model, lambda: values(images.detach()), dtype, spare))
        return values(images)

    return compute


def _is_plain(module: nn.Conv2d) -> bool:
    """Return whether the module's output is exactly the convolution of its input with its weight."""
    return type(module) is nn.Conv2d and not (module._forward_hooks or module._forward_pre_hooks)


def _linear_values(module: nn.Conv2d, filters: Sequence[int], position: Position, layer: str, inputs: Tensor) -> Values:
    """Return the objective of filter n of a convolution as a function of its inputs [N,C,H,W] of this shape.

    It is affine in them: its gradient is the same at all inputs, and computed once, at 0.
    """
    with torch.enable_grad(), torch.autocast(inputs.device.type, enabled=False):
        zeros = torch.zeros_like(inputs, dtype=module.weight.dtype).requires_grad_()
        offset = at_position(module.forward(zeros)[range(len(filters)), list(filters)], position, layer)
        (gradient,) = torch.autograd.grad(offset.sum(), zeros)
    offset = offset.detach()
    return lambda activation: offset + (activation.to(gradient.dtype) * gradient).sum((1, 2, 3))


@contextmanager
def class_values(model: nn.Module, classes: Sequence[int], dtype: torch.dtype | None = None) -> Iterator[Values]:
    """Yield the logit of class ``classes[n]`` for image n, ``dtype`` as above; the model is left unchanged."""

    def values(images: Tensor) -> Tensor:
        logits = model(images.clone())
        return logits[torch.arange(len(images), device=images.device), torch.as_tensor(classes, device=images.device)]

    with frozen(model), ExitStack() as stack:
        yield _fused_values(values, model, dtype, model, stack) if dtype else values
