"""The input gradient of a convolution of few channels, such as the first one of a network for grey images.

Processors convolve sixteen output channels at a time. The gradient with respect to a grey image has one, so that
fifteen sixteenths of the work are wasted. Here it is computed for blocks of 4 x 4 pixels: the sixteen pixels of a block
are the channels of a convolution whose stride is the block.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

_BLOCK_SIDE = 4  # pixels
_FEW = 4  # input channels up to which it is faster


def has_few_channels(conv: nn.Conv2d) -> bool:
    """Whether the input gradient of the convolution can be computed by blocks, and faster."""
    if conv.padding_mode != "zeros" or isinstance(conv.padding, str) or conv.groups > 1 or conv.in_channels > _FEW:
        return False
    # A padding beyond the kernel would need a negative margin.
    inside = all(by < size for by, size in zip(conv.padding, conv.kernel_size, strict=True))
    return inside and tuple(conv.stride) == tuple(conv.dilation) == (1, 1)


def few_channel_conv(inputs: Tensor, conv: nn.Conv2d, blocks: Tensor) -> Tensor:
    """Convolve [N,C,H,W] inputs, with the input gradient by blocks where H and W are multiples of a block."""
    if (
        inputs.shape[2] % _BLOCK_SIDE
        or inputs.shape[3] % _BLOCK_SIDE
        or not (torch.is_grad_enabled() and inputs.requires_grad)
    ):
        return F.conv2d(inputs, conv.weight, conv.bias, padding=conv.padding)
    return _Convolution.apply(inputs, conv, blocks)


def image_blocks(weight: Tensor) -> Tensor:
    """Return [C*16,O,k+3,l+3] of a weight [O,C,k,l]: from the gradient of the output to the pixels of a block."""
    mirrored = weight.flip(2, 3).transpose(0, 1)
    ends = _BLOCK_SIDE - 1
    pixels = [F.pad(mirrored, (b, ends - b, a, ends - a)) for a in range(_BLOCK_SIDE) for b in range(_BLOCK_SIDE)]
    return torch.stack(pixels, 1).flatten(0, 1).contiguous(memory_format=torch.channels_last)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, conv: nn.Conv2d, blocks: Tensor) -> Tensor:
        ctx.conv, ctx.blocks, ctx.dtype = conv, blocks, inputs.dtype
        return F.conv2d(inputs, conv.weight, conv.bias, padding=conv.padding)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        margins = [size - 1 - by for size, by in zip(ctx.conv.kernel_size, ctx.conv.padding, strict=True)]
        blocks = F.conv2d(gradients[0].to(ctx.blocks.dtype), ctx.blocks, stride=_BLOCK_SIDE, padding=margins)
        return F.pixel_shuffle(blocks, _BLOCK_SIDE).to(ctx.dtype), None, None
