"""What an image is climbed towards: a filter's output, or a class's logit, of each image its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fervis.engines.passes import undisturbed
from fervis.engines.quickening import quickened
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
def filter_values(
    model: nn.Module, layer: Layer, filters: Sequence[int], place: Place, quick: torch.dtype | None = None
) -> Iterator[Values]:
    """The objective of filter n for image n, from passes that end at the layer; the model is left as it was found.

    Before a plain convolution the pass ends already: of all its filters, image n needs one.

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
            if place == "mean":
                return _mean_of_one_filter_each(found, convolution, chosen)
            maps = _one_filter_each(found, convolution, chosen)
        return at_place(maps, place, layer.name)

    if convolution is None:
        handle = module.register_forward_hook(lambda _module, _inputs, output: stop(output))
    else:
        handle = module.register_forward_pre_hook(lambda _module, inputs: stop(inputs[0]))
    try:
        with undisturbed(model), ExitStack() as stack:
            yield _quick(values, model, quick, module, stack) if quick else values
    finally:
        handle.remove()


def _quick(values: Values, model: nn.Module, dtype: torch.dtype, spare: nn.Module, stack: ExitStack) -> Values:
    """The values from a network that is quickened when the first images come, for as long as the stack is open."""
    done = False

    def quick(images: Tensor) -> Tensor:
        nonlocal done
        if not done:
            done = True
            with torch.autocast(images.device.type, enabled=False):
                stack.enter_context(quickened(model, lambda: values(images.detach()), dtype, spare))
        return values(images)

    return quick


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


def _mean_of_one_filter_each(inputs: Tensor, module: nn.Conv2d, filters: Tensor) -> Tensor:
    """[N]: the mean of ``_one_filter_each``, from the means of what each weight meets: there is no map to be made."""
    padding, stride, dilation, kernel = module.padding, module.stride, module.dilation, module.kernel_size
    assert not isinstance(padding, str)
    means = F.pad(inputs.to(module.weight.dtype), (padding[1], padding[1], padding[0], padding[0]))
    for axis in (0, 1):
        # Rows go to the end, and columns take their place: [N,C,H,W] -> [N,C,W,kh] -> [N,C,kh,kw].
        count = (means.shape[2] - dilation[axis] * (kernel[axis] - 1) - 1) // stride[axis] + 1
        first = [dilation[axis] * one for one in range(kernel[axis])]
        span = stride[axis] * (count - 1) + 1
        means = torch.stack([means[:, :, one : one + span : stride[axis]].mean(2) for one in first], -1)
    found = (module.weight[filters] * means).sum((1, 2, 3))
    return found if module.bias is None else found + module.bias[filters]


@contextmanager
def class_values(model: nn.Module, classes: Sequence[int], quick: torch.dtype | None = None) -> Iterator[Values]:
    """The logit of class ``classes[n]`` for image n, ``quick`` as above; the model is left as it was found."""

    def values(images: Tensor) -> Tensor:
        logits = model(images.clone())
        return logits[torch.arange(len(images), device=images.device), torch.as_tensor(classes, device=images.device)]

    with undisturbed(model), ExitStack() as stack:
        yield _quick(values, model, quick, model, stack) if quick else values
