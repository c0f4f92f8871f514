"""What an image is climbed towards: a filter's output, or a class's logit, of each image its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fervis.engines.passes import undisturbed
from fervis.errors import WrongQuestion
from fervis.layers import Layer, spatial

Values = Callable[[Tensor], Tensor]
"""From [N,C,H,W] images to [N] values, image n's own objective."""

Place = str | tuple[int, int]


class _Reached(Exception):
    """The pass has come to where it is cut."""


def check_place(spec: Any) -> Place:
    """What ``objective=`` means: ``mean``, ``centre``, or a position (row, column) of the layer's map.

    Raises:
        WrongQuestion: another form.
    """
    if spec in ("mean", "centre"):
        return str(spec)
    shown = list(spec) if isinstance(spec, Sequence) and not isinstance(spec, str) else spec
    if isinstance(shown, list) and len(shown) == 2 and all(type(one) is int and one >= 0 for one in shown):
        return shown[0], shown[1]
    raise WrongQuestion(f"explainer.objective={shown}: expected mean, centre, or a position [row,column] of the map.")


def at_place(maps: Tensor, place: Place, layer: str) -> Tensor:
    """The objective of each map [...,h,w]: its mean, or its value at one position.

    The centre of an even number of positions is the one after the middle, as in Lucid.

    Raises:
        WrongQuestion: the map has no such position.
    """
    if place == "mean":
        return maps.mean((-2, -1))
    height, width = maps.shape[-2:]
    row, column = (height // 2, width // 2) if isinstance(place, str) else place
    if row >= height or column >= width:
        raise WrongQuestion(
            f"explainer.objective=[{row},{column}]: the map of {layer} has {height} rows and {width} columns, from 0."
        )
    return maps[..., row, column]


@contextmanager
def filter_values(model: nn.Module, layer: Layer, filters: Sequence[int], place: Place) -> Iterator[Values]:
    """The objective of filter n for image n, from passes that end at the layer; the model is left as it was found.

    Before a plain convolution the pass ends already: of all its filters, image n needs one.

    Args:
        model: any network.
        layer: whose filters.
        filters: N filters' numbers, for as many images.
        place: as ``check_place``.
    """
    module = model.get_submodule(layer.path)
    convolution = module if isinstance(module, nn.Conv2d) and _is_plain(module) else None
    kept: list[Tensor] = []

    def stop(output: Any) -> None:
        if not isinstance(output, Tensor):
            raise WrongQuestion(f"layer={layer.name}: its output is a {type(output).__name__}, expected one tensor.")
        kept.append(output)
        raise _Reached

    def values(images: Tensor) -> Tensor:
        chosen = torch.as_tensor(filters, device=images.device)
        with suppress(_Reached):
            # A copy goes in, so that a network that changes its input in place changes the copy.
            model(images.clone())
        found = kept.pop()
        if convolution is None:
            maps = spatial(found, layer)[torch.arange(len(images), device=images.device), chosen]
        else:
            maps = _one_filter_each(found, convolution, chosen)
        return at_place(maps, place, layer.name)

    if convolution is None:
        handle = module.register_forward_hook(lambda _module, _inputs, output: stop(output))
    else:
        handle = module.register_forward_pre_hook(lambda _module, inputs: stop(inputs[0]))
    try:
        with undisturbed(model), channels_last(model):
            yield values
    finally:
        handle.remove()


def _is_plain(module: nn.Conv2d) -> bool:
    """Whether the module's output is nothing but the convolution of its input with its weight."""
    hooks = module._forward_hooks or module._forward_pre_hooks
    zeros = module.padding_mode == "zeros" and not isinstance(module.padding, str)
    return type(module) is nn.Conv2d and module.groups == 1 and zeros and not hooks


def _one_filter_each(inputs: Tensor, module: nn.Conv2d, filters: Tensor) -> Tensor:
    """[N,h,w]: what filter n of a convolution makes of the inputs [N,C,H,W] of image n."""
    padding, stride, dilation, kernel = module.padding, module.stride, module.dilation, module.kernel_size
    assert not isinstance(padding, str)
    columns = F.unfold(inputs, kernel, dilation, padding, stride)
    found = torch.bmm(module.weight[filters].flatten(1)[:, None].to(columns.dtype), columns)[:, 0]
    if module.bias is not None:
        found = found + module.bias[filters, None]
    tall, wide = (
        (size + 2 * padding[i] - dilation[i] * (kernel[i] - 1) - 1) // stride[i] + 1
        for i, size in enumerate(inputs.shape[-2:])
    )
    return found.unflatten(1, (tall, wide))


@contextmanager
def class_values(model: nn.Module, classes: Sequence[int]) -> Iterator[Values]:
    """The logit of class ``classes[n]`` for image n; the model is left as it was found."""

    def values(images: Tensor) -> Tensor:
        logits = model(images.clone())
        return logits[torch.arange(len(images), device=images.device), torch.as_tensor(classes, device=images.device)]

    with undisturbed(model), channels_last(model):
        yield values


@contextmanager
def channels_last(model: nn.Module) -> Iterator[None]:
    """Weights of convolutions with the channels innermost, which is where processors convolve fastest; then as before.

    Grey images have one channel, so that nothing but the weights can tell a network in which order to work.
    """
    weights = [module.weight for module in model.modules() if isinstance(module, nn.Conv2d)]
    before = [weight.data for weight in weights]
    try:
        for weight in weights:
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)
        yield
    finally:
        for weight, data in zip(weights, before, strict=True):
            weight.data = data
