"""A network made quick for passes that need no gradients of its weights, and given back as it was.

Convolutions get their weights with the channels innermost, in which order processors convolve fastest, and in the
precision they compute in; a BatchNorm that follows a convolution becomes part of its weights; a rectifier before a
max-pooling comes after it, where there is less to rectify; the slope of a convolution of few channels is computed by
blocks. All of it changes nothing but rounding.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from fervis.models.few_channel_conv import few_channel_conv, has_few_channels, image_blocks

CLOSE = 1e-3  # relative difference that this may make by rounding; a change that must not be made differs by far more

Pair = tuple[nn.Module, nn.Module]


@contextmanager
def fast_forward(model: nn.Module, images: Tensor) -> Iterator[None]:
    """The network quickened in its own precision, inside, for all that asks for its output alone.

    Args:
        model: in eval mode.
        images: [n,C,H,W] float, n >= 1, to see by that it answers the same.
    """
    with fused(model, lambda: model(images.clone()), None, model):
        yield


@contextmanager
def fused(model: nn.Module, probe: Callable[[], Tensor], dtype: torch.dtype | None, spare: nn.Module) -> Iterator[None]:
    """The network with quick convolutions, inside; it is in eval mode, and restored whatever happens.

    Args:
        model: any network.
        probe: runs it as far as it is needed and gives numbers by which to see that it computes the same.
        dtype: of the convolutions' weights: what they compute in; None leaves it as it is.
        spare: a module whose output is needed as it is.
    """
    with _own_weights(model), ExitStack() as changes:
        with torch.no_grad():
            pairs = [pair for pair in fold_chain(model, probe) if pair[0] is not spare]
            before = probe()
            for first, second in pairs:
                if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                    changes.enter_context(_folded(first, second))
                else:
                    changes.enter_context(_swapped(first, second))
            # Another reader of the first one's output would see the change: none is made then.
            if not (probe() - before).abs().max() <= CLOSE * before.abs().max().clamp(min=1e-6):
                changes.close()
            for module in _convolutions(model):
                if module is not spare:
                    weight = module.weight.data
                    module.weight.data = weight.to(dtype or weight.dtype, memory_format=torch.channels_last)
                    if has_few_channels(module) and not (module._forward_hooks or module._forward_pre_hooks):
                        changes.enter_context(_by_blocks(module))
        yield


def fold_chain(model: nn.Module, probe: Callable[[], object]) -> list[Pair]:
    """Pairs of modules of which the second takes the very output of the first, each called once in the pass.

    They are convolutions with the BatchNorm that follows, and ReLU or LeakyReLU with the max-pooling that follows.
    """
    outputs: dict[nn.Module, Tensor] = {}
    calls: Counter[nn.Module] = Counter()
    pairs: list[Pair] = []

    def heard(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        calls[module] += 1
        taken = inputs[0] if inputs else None
        pairs.extend((one, module) for one, kept in outputs.items() if kept is taken and _changeable(one, module))
        outputs[module] = output

    with ExitStack() as hooks:
        for module in model.modules():
            # A module that others have hooks on may do more than its name says.
            if not (module._forward_hooks or module._forward_pre_hooks) and not list(module.children()):
                hooks.callback(module.register_forward_hook(heard).remove)
        probe()
    return [(one, other) for one, other in pairs if calls[one] == calls[other] == 1]


def _changeable(one: nn.Module, other: nn.Module) -> bool:
    """Whether a pair is of those that quicken; a subclass may do more than its name says."""
    if type(one) is nn.Conv2d and type(other) is nn.BatchNorm2d:
        return other.running_mean is not None
    # The highest of rectified values is the rectified highest value where the rectifier never falls.
    rising = type(one) is nn.ReLU or (type(one) is nn.LeakyReLU and one.negative_slope >= 0)
    return rising and type(other) is nn.MaxPool2d and not other.return_indices


@contextmanager
def _folded(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> Iterator[None]:
    bias = conv.bias
    assert norm.running_mean is not None
    assert norm.running_var is not None
    weight, shift = fuse_conv_bn_weights(
        conv.weight, bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )
    kept = conv.weight.data
    conv.weight.data = weight.data
    conv.bias = nn.Parameter(shift.data, requires_grad=False)
    norm.forward = lambda input: input
    try:
        yield
    finally:
        conv.weight.data, conv.bias = kept, bias
        del norm.forward


@contextmanager
def _swapped(rectifier: nn.Module, pool: nn.Module) -> Iterator[None]:
    rectify, pooled = rectifier.forward, pool.forward
    rectifier.forward = lambda input: input
    pool.forward = lambda input: rectify(pooled(input))
    try:
        yield
    finally:
        del rectifier.forward, pool.forward


@contextmanager
def _by_blocks(conv: nn.Conv2d) -> Iterator[None]:
    blocks = image_blocks(conv.weight.data)
    conv.forward = lambda input: few_channel_conv(input, conv, blocks)
    try:
        yield
    finally:
        del conv.forward


@contextmanager
def _own_weights(model: nn.Module) -> Iterator[None]:
    """Gives every convolution its weight back, the same memory."""
    kept = [(module.weight, module.weight.data) for module in _convolutions(model)]
    try:
        yield
    finally:
        for weight, data in kept:
            weight.data = data


def _convolutions(model: nn.Module) -> list[nn.Conv2d]:
    return [module for module in model.modules() if type(module) is nn.Conv2d]
