"""A network made quick for passes that need no gradients of its weights, and given back as it was.

Convolutions get their weights with the channels innermost, in which order processors convolve fastest, and in the
precision they compute in; a BatchNorm that follows a convolution becomes part of its weights. Both change nothing but
rounding.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

CLOSE = 1e-3  # relative difference that folding may make by rounding; a fold that must not be made differs by far more

Pair = tuple[nn.Conv2d, nn.BatchNorm2d]


@contextmanager
def quickened(model: nn.Module, probe: Callable[[], Tensor], dtype: torch.dtype, spare: nn.Module) -> Iterator[None]:
    """The network with quick convolutions, inside; it is in eval mode, and restored whatever happens.

    Args:
        model: any network.
        probe: runs it as far as it is needed and gives numbers by which to see that it computes the same.
        dtype: of the convolutions' weights: what they compute in.
        spare: a module whose output is needed as it is.
    """
    with _own_weights(model), ExitStack() as folding:
        with torch.no_grad():
            pairs = [pair for pair in follow_on(model, probe) if pair[0] is not spare]
            before = probe()
            for pair in pairs:
                folding.enter_context(_folded(*pair))
            # Another reader of a convolution's output would see the fold: it is not made then.
            if not (probe() - before).abs().max() <= CLOSE * before.abs().max().clamp(min=1e-6):
                folding.close()
            for module in _convolutions(model):
                if module is not spare:
                    module.weight.data = module.weight.data.to(dtype, memory_format=torch.channels_last)
        yield


def follow_on(model: nn.Module, probe: Callable[[], object]) -> list[Pair]:
    """Convolutions and the BatchNorm that takes their very output, each called once in the pass."""
    outputs: dict[nn.Module, Tensor] = {}
    calls: Counter[nn.Module] = Counter()
    pairs: list[Pair] = []

    def heard(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        calls[module] += 1
        if isinstance(module, nn.Conv2d):
            outputs[module] = output
        elif isinstance(module, nn.BatchNorm2d):
            pairs.extend(
                (one, module) for one, kept in outputs.items() if isinstance(one, nn.Conv2d) and kept is inputs[0]
            )

    with ExitStack() as hooks:
        for module in model.modules():
            # A subclass, or a module that others have hooks on, may do more than its name says.
            hooked = module._forward_hooks or module._forward_pre_hooks
            if type(module) in (nn.Conv2d, nn.BatchNorm2d) and not hooked:
                hooks.callback(module.register_forward_hook(heard).remove)
        probe()
    statistics = [pair for pair in pairs if pair[1].running_mean is not None]
    return [(conv, norm) for conv, norm in statistics if calls[conv] == calls[norm] == 1]


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
