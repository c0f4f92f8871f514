"""Speed up passes that need no gradients of a network's weights, and restore the network afterwards.

Convolutions get channels-last weights, in which layout processors convolve fastest, in the precision they compute in; a
BatchNorm that follows a convolution is folded into its weights; a ReLU before a max-pooling is applied after it, to
fewer values; the input gradient of a convolution of few channels is computed by blocks. Only rounding changes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from fervis.models.few_channel_conv import few_channel_conv, has_few_channels, image_blocks

_TOLERANCE = 1e-3  # relative difference by rounding; an invalid change makes a far larger one

Pair = tuple[nn.Module, nn.Module]


@contextmanager
def fast_forward(model: nn.Module, images: Tensor) -> Iterator[None]:
    """Speed up a network in its own precision, inside the context, for passes that need its output alone.

    Args:
        model: in eval mode.
        images: [n,C,H,W] float, n >= 1, to check that it computes the same.
    """
    with fused(model, lambda: model(images.clone()), None, model):
        yield


@contextmanager
def fused(model: nn.Module, probe: Callable[[], Tensor], dtype: torch.dtype | None, spare: nn.Module) -> Iterator[None]:
    """Fuse a network in eval mode, inside the context; it is restored afterwards, also after an error.

    Args:
        model: any network.
        probe: runs it as far as it is needed and returns values to check that it computes the same.
        dtype: of the convolutions' weights; None leaves it as it is.
        spare: a module whose output is needed unchanged.
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
            # A module that also reads the first one's output would see the change: no pair is changed then.
            if not (probe() - before).abs().max() <= _TOLERANCE * before.abs().max().clamp(min=1e-6):
                changes.close()
            convolutions = [module for module in _convolutions(model) if module is not spare]
            _lay_out(convolutions, torch.channels_last)
            try:
                probe()
            except RuntimeError:  # a network that reshapes by ``view`` takes the usual layout alone
                _lay_out(convolutions, torch.contiguous_format)
            for module in convolutions:
                module.weight.data = module.weight.data.to(dtype or module.weight.dtype)
                if has_few_channels(module) and not (module._forward_hooks or module._forward_pre_hooks):
                    changes.enter_context(_by_blocks(module))
        yield


def fold_chain(model: nn.Module, probe: Callable[[], object]) -> list[Pair]:
    """Return pairs of modules of which the second takes the output of the first, each called once in the pass.

    They are convolutions with the BatchNorm that follows, and ReLU or LeakyReLU with the max-pooling that follows.
    """
    outputs: dict[nn.Module, Tensor] = {}
    calls: Counter[nn.Module] = Counter()
    pairs: list[Pair] = []

    def record(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        calls[module] += 1
        source = inputs[0] if inputs else None
        pairs.extend((first, module) for first, out in outputs.items() if out is source and _is_fusible(first, module))
        outputs[module] = output

    with ExitStack() as hooks:
        for module in model.modules():
            # A module with foreign hooks may compute more than its type implies.
            if not (module._forward_hooks or module._forward_pre_hooks) and not list(module.children()):
                hooks.callback(module.register_forward_hook(record).remove)
        probe()
    return [(first, second) for first, second in pairs if calls[first] == calls[second] == 1]


def _is_fusible(first: nn.Module, second: nn.Module) -> bool:
    """Whether a pair can be fused; a subclass may compute something else."""
    if type(first) is nn.Conv2d and type(second) is nn.BatchNorm2d:
        return second.running_mean is not None
    # The maximum commutes with a function that never falls.
    monotonic = type(first) is nn.ReLU or (type(first) is nn.LeakyReLU and first.negative_slope >= 0)
    return monotonic and type(second) is nn.MaxPool2d and not second.return_indices


@contextmanager
def _folded(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> Iterator[None]:
    bias = conv.bias
    assert norm.running_mean is not None
    assert norm.running_var is not None
    weight, shift = fuse_conv_bn_weights(
        conv.weight, bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )
    saved = conv.weight.data
    conv.weight.data = weight.data
    conv.bias = nn.Parameter(shift.data, requires_grad=False)
    norm.forward = lambda input: input
    try:
        yield
    finally:
        conv.weight.data, conv.bias = saved, bias
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
    """Restore the weight of every convolution, the same memory, at the end."""
    saved = [(module.weight, module.weight.data) for module in _convolutions(model)]
    try:
        yield
    finally:
        for weight, data in saved:
            weight.data = data


def _lay_out(convolutions: list[nn.Conv2d], layout: torch.memory_format) -> None:
    for module in convolutions:
        module.weight.data = module.weight.data.contiguous(memory_format=layout)


def _convolutions(model: nn.Module) -> list[nn.Conv2d]:
    return [module for module in model.modules() if type(module) is nn.Conv2d]
