"""The slope by blocks of pixels is autograd's slope."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fervis.models.few_channel_conv import few_channel_conv, has_few_channels, image_blocks


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(1, 5, 3, padding=1),
        nn.Conv2d(3, 6, 3, bias=False),
        nn.Conv2d(2, 3, (5, 1), padding=(2, 0)),
        nn.Conv2d(4, 2, 3, padding=2),
        nn.Conv2d(1, 2, 1),
    ],
)
@pytest.mark.parametrize("size", [(8, 12), (8, 10), (9, 8)])
def test_it_is_the_convolution_with_its_slope(conv: nn.Conv2d, size: tuple[int, int]):
    conv = conv.double()
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, conv.in_channels, *size, generator=generator, dtype=torch.float64).requires_grad_()
    expected = conv(images)
    weights = torch.randn(expected.shape, generator=generator, dtype=torch.float64)
    (slope,) = torch.autograd.grad(expected, images, weights)
    found = few_channel_conv(images, conv.requires_grad_(False), image_blocks(conv.weight))
    (own,) = torch.autograd.grad(found, images, weights)
    assert has_few_channels(conv)
    by_blocks = "_Convolution" in type(found.grad_fn).__name__
    assert by_blocks == (size == (8, 12))
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(own, slope)


def test_under_autocast_the_slope_has_the_images_precision():
    conv = nn.Conv2d(1, 8, 3, padding=1).requires_grad_(False)
    images = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    (expected,) = torch.autograd.grad(conv(images).square().sum(), images)
    conv.weight.data = conv.weight.data.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        found = few_channel_conv(images, conv, image_blocks(conv.weight.data))
    (own,) = torch.autograd.grad(found.float().square().sum(), images)
    assert (found.dtype, own.dtype) == (torch.bfloat16, torch.float32)
    torch.testing.assert_close(own, expected, rtol=0.05, atol=0.05)


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(5, 5, 3),
        nn.Conv2d(1, 5, 3, stride=2),
        nn.Conv2d(1, 5, 3, dilation=2),
        nn.Conv2d(4, 4, 3, groups=2),
        nn.Conv2d(1, 5, 3, padding=3),
        nn.Conv2d(1, 5, 3, padding="same"),
        nn.Conv2d(1, 5, 3, padding=1, padding_mode="reflect"),
    ],
)
def test_others_are_left_to_torch(conv: nn.Conv2d):
    assert not has_few_channels(conv)
