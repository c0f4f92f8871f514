"""The slope of a convolution of few channels, such as the first one of a network that sees grey faces.

Processors convolve sixteen output channels at a time. The slope with respect to one grey image has one, so that fifteen
sixteenths of the work are lost. Here it is computed for blocks of 4 x 4 pixels: the sixteen pixels of a block are the
channels of a convolution that goes by blocks.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

BLOCK_SIDE = 4  # of a block
FEW = 4  # input channels up to which it pays


def has_few_channels(conv: nn.Conv2d) -> bool:
    """Whether the convolution is one whose slope can be computed by blocks, and gains from it."""
    if conv.padding_mode != "zeros" or isinstance(conv.padding, str) or conv.groups > 1 or conv.in_channels > FEW:
        return False
    # A padding beyond the kernel would ask for a negative margin.
    inside = all(by < size for by, size in zip(conv.padding, conv.kernel_size, strict=True))
    return inside and tuple(conv.stride) == tuple(conv.dilation) == (1, 1)


def few_channel_conv(inputs: Tensor, conv: nn.Conv2d, blocks: Tensor) -> Tensor:
    """What the convolution makes of [N,C,H,W] inputs, its slope by blocks where H and W are whole blocks."""
    if (
        inputs.shape[2] % BLOCK_SIDE
        or inputs.shape[3] % BLOCK_SIDE
        or not (torch.is_grad_enabled() and inputs.requires_grad)
    ):
        return F.conv2d(inputs, conv.weight, conv.bias, padding=conv.padding)
    return _Convolution.apply(inputs, conv, blocks)


def image_blocks(weight: Tensor) -> Tensor:
    """[C*16,O,k+3,l+3] of a weight [O,C,k,l]: from the slope of the output to the pixels of a block."""
    turned = weight.flip(2, 3).transpose(0, 1)
    ends = BLOCK_SIDE - 1
    pixels = [F.pad(turned, (b, ends - b, a, ends - a)) for a in range(BLOCK_SIDE) for b in range(BLOCK_SIDE)]
    return torch.stack(pixels, 1).flatten(0, 1).contiguous(memory_format=torch.channels_last)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, conv: nn.Conv2d, blocks: Tensor) -> Tensor:
        ctx.conv, ctx.blocks, ctx.dtype = conv, blocks, inputs.dtype
        return F.conv2d(inputs, conv.weight, conv.bias, padding=conv.padding)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        margins = [size - 1 - by for size, by in zip(ctx.conv.kernel_size, ctx.conv.padding, strict=True)]
        found = F.conv2d(slopes[0].to(ctx.blocks.dtype), ctx.blocks, stride=BLOCK_SIDE, padding=margins)
        return F.pixel_shuffle(found, BLOCK_SIDE).to(ctx.dtype), None, None
