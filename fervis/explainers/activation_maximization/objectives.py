"""What an image is climbed towards: a filter's output, or a class's logit, of each image its own."""

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
    """The pass has come to where it is cut."""


def check_position(spec: Any) -> Position:
    """Parse ``objective=``: ``mean``, ``centre``, or a position (row, column) of the layer's map.

    Raises:
        ConfigError: another form.
    """
    if spec in ("mean", "centre"):
        return str(spec)
    shown = list(spec) if isinstance(spec, Sequence) and not isinstance(spec, str) else spec
    if isinstance(shown, list) and len(shown) == 2 and all(type(one) is int and one >= 0 for one in shown):
        return shown[0], shown[1]
    raise ConfigError(f"explainer.objective={shown}: expected mean, centre, or a position [row,column] of the map.")


def at_position(maps: Tensor, place: Position, layer: str) -> Tensor:
    """Return the objective of each map [...,h,w]: its mean, or its value at one position.

    The centre of an even number of positions is the one after the middle, as in Lucid.

    Raises:
        ConfigError: the map has no such position.
    """
    if place == "mean":
        return maps.mean((-2, -1))
    height, width = maps.shape[-2:]
    row, column = (height // 2, width // 2) if isinstance(place, str) else place
    if row >= height or column >= width:
        raise ConfigError(
            f"explainer.objective=[{row},{column}]: the map of {layer} has {height} rows and {width} columns, from 0."
        )
    return maps[..., row, column]


@contextmanager
def filter_values(
    model: nn.Module, layer: Layer, filters: Sequence[int], place: Position, quick: torch.dtype | None = None
) -> Iterator[Values]:
    """Yield the objective of filter n for image n, from passes that end at the layer; the model stays as it was.

    Before a plain convolution the pass ends already: what one filter makes of its input is linear.

    Args:
        model: any network.
        layer: whose filters.
        filters: N filters' numbers, for as many images.
        place: as ``check_place``.
        quick: make the network quick for passes in this precision; None computes as the network does.
    """
    module = model.get_submodule(layer.path)
    convolution = module if isinstance(module, nn.Conv2d) and _is_plain(module) else None
    kept: list[Tensor] = []
    linear: dict[torch.Size, Values] = {}

    def stop(output: Any) -> None:
        if not isinstance(output, Tensor):
            raise ConfigError(f"layer={layer.name}: its output is a {type(output).__name__}, expected one tensor.")
        kept.append(output)
        raise _LayerReached

    def values(images: Tensor) -> Tensor:
        with suppress(_LayerReached):
            # A copy goes in, so that a network that changes its input in place changes the copy.
            model(images.clone())
        found = kept.pop()
        if convolution is None:
            return at_position(spatial(found, layer)[range(len(filters)), list(filters)], place, layer.name)
        if found.shape not in linear:
            linear[found.shape] = _linear(convolution, filters, place, layer.name, found)
        return linear[found.shape](found)

    if convolution is None:
        handle = module.register_forward_hook(lambda _module, _inputs, output: stop(output))
    else:
        handle = module.register_forward_pre_hook(lambda _module, inputs: stop(inputs[0]))
    try:
        with frozen(model), ExitStack() as stack:
            yield _fast_values(values, model, quick, module, stack) if quick else values
    finally:
        handle.remove()


def _fast_values(values: Values, model: nn.Module, dtype: torch.dtype, spare: nn.Module, stack: ExitStack) -> Values:
    """Return values from a network that is fused when the first images come, for as long as the stack is open."""
    done = False

    def quick(images: Tensor) -> Tensor:
        nonlocal done
        if not done:
            done = True
            with torch.autocast(images.device.type, enabled=False):
                stack.enter_context(fused(model, lambda: values(images.detach()), dtype, spare))
        return values(images)

    return quick


def _is_plain(module: nn.Conv2d) -> bool:
    """Whether the module's output is nothing but the convolution of its input with its weight."""
    return type(module) is nn.Conv2d and not (module._forward_hooks or module._forward_pre_hooks)


def _linear(module: nn.Conv2d, filters: Sequence[int], place: Position, layer: str, inputs: Tensor) -> Values:
    """Return the objective of filter n of a convolution from its inputs [N,C,H,W], for inputs of this shape.

    It is linear in them: what it takes of each is the same at all of them, and found once, as the gradient at 0.
    """
    with torch.enable_grad(), torch.autocast(inputs.device.type, enabled=False):
        zeros = torch.zeros_like(inputs, dtype=module.weight.dtype).requires_grad_()
        offset = at_position(module.forward(zeros)[range(len(filters)), list(filters)], place, layer)
        (slope,) = torch.autograd.grad(offset.sum(), zeros)
    offset = offset.detach()
    return lambda found: offset + (found.to(slope.dtype) * slope).sum((1, 2, 3))


@contextmanager
def class_values(model: nn.Module, classes: Sequence[int], quick: torch.dtype | None = None) -> Iterator[Values]:
    """Yield the logit of class ``classes[n]`` for image n, ``quick`` as above; the model stays as it was."""

    def values(images: Tensor) -> Tensor:
        logits = model(images.clone())
        return logits[torch.arange(len(images), device=images.device), torch.as_tensor(classes, device=images.device)]

    with frozen(model), ExitStack() as stack:
        yield _fast_values(values, model, quick, model, stack) if quick else values
