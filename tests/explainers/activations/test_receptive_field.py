"""Receptive fields against the formula for stacks of windows, and what an output looks at against autograd."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from fervis.core.layers import Layer, find_layer
from fervis.explainers.activations import receptive_field

Window = tuple[str, int, int, int, int]  # kind, kernel, stride, padding, dilation


def stack(windows: Sequence[Window]) -> nn.Sequential:
    """A network of these windows, 2 channels throughout, with activations between."""
    parts: list[nn.Module] = []
    for kind, kernel, stride, padding, dilation in windows:
        if kind == "conv":
            parts.append(nn.Conv2d(1 if not parts else 2, 2, kernel, stride, padding, dilation))
        else:
            parts.append(nn.MaxPool2d(kernel, stride, padding, dilation))
        parts += [nn.BatchNorm2d(2), nn.LeakyReLU(0.1)]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 3))


def by_formula(windows: Sequence[Window], unit: int, size: int) -> tuple[int, int]:
    """First pixel and the one beyond that a unit of the last window sees, along one direction."""
    sizes = [size]
    for _, kernel, stride, padding, dilation in windows:
        sizes.append((sizes[-1] + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1)
    low = high = unit
    for (_, kernel, stride, padding, dilation), before in zip(reversed(windows), sizes[-2::-1], strict=True):
        # What lies in the padding sees nothing.
        low, high = max(0, low * stride - padding), high * stride - padding + dilation * (kernel - 1)
        high = min(before - 1, high)
    return low, high + 1


def last(model: nn.Module, image: Tensor, windows: Sequence[Window]) -> Layer:
    return find_layer(model, str(3 * (len(windows) - 1)), image)


STACKS: list[list[Window]] = [
    [("conv", 3, 1, 1, 1)],
    [("conv", 3, 1, 1, 1), ("conv", 3, 1, 1, 1), ("pool", 2, 2, 0, 1), ("conv", 3, 1, 1, 1)],
    [("conv", 5, 2, 2, 1), ("conv", 3, 1, 0, 2)],
    [("conv", 4, 2, 1, 1), ("pool", 3, 2, 1, 1), ("conv", 1, 1, 0, 1), ("conv", 3, 2, 1, 1)],
    [("conv", 7, 3, 0, 1), ("conv", 3, 1, 1, 1)],
]


@pytest.mark.parametrize("windows", STACKS)
@pytest.mark.parametrize("size", [(48, 48), (40, 33)])
def test_fields_are_those_of_the_formula(windows: list[Window], size: tuple[int, int]):
    model, image = stack(windows), torch.rand(1, 1, *size)
    layer = last(model, image, windows)
    found = receptive_field.receptive_fields(model, image, layer)
    assert found.shape == (*layer.grid, 4)
    for y in range(layer.grid[0]):
        for x in range(layer.grid[1]):
            (top, bottom), (left, right) = by_formula(windows, y, size[0]), by_formula(windows, x, size[1])
            assert found[y, x].tolist() == [top, left, bottom, right]


def test_a_zero_weight_is_seen_and_branches_are_joined(residual: nn.Module):
    image = torch.rand(1, 1, 9, 9)
    for part in (residual.conv1, residual.conv2):
        nn.init.zeros_(part.weight)
    one = receptive_field.receptive_fields(residual, image, find_layer(residual, "conv2", image))
    assert one[4, 4].tolist() == [2, 2, 7, 7]
    assert one[0, 8].tolist() == [0, 6, 3, 9]


class Gated(nn.Module):
    """Every unit is multiplied by the mean over all."""

    def __init__(self, hides: bool) -> None:
        super().__init__()
        self.conv, self.gate, self.hides = nn.Conv2d(1, 2, 3, padding=1), nn.Identity(), hides

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        x = self.gate(x.nan_to_num() if self.hides else x * x.mean((2, 3), keepdim=True))
        return x.mean((2, 3))


@pytest.mark.parametrize("hides", [False, True])
def test_where_everything_or_nothing_is_known_to_be_seen_the_field_is_the_whole_face(hides: bool):
    model, image = Gated(hides), torch.rand(1, 1, 7, 5)
    found = receptive_field.receptive_fields(model, image, find_layer(model, "gate", image))
    assert (found == torch.tensor([0, 0, 7, 5])).all()


def test_the_network_and_the_backends_are_left_as_they_were(residual: nn.Module):
    residual.train()
    image = torch.rand(1, 1, 8, 8)
    kept, before = image.clone(), (torch.backends.mkldnn.enabled, torch.backends.cudnn.enabled)
    receptive_field.receptive_fields(residual, image, find_layer(residual, "conv1", image))
    assert torch.equal(image, kept)
    assert (torch.backends.mkldnn.enabled, torch.backends.cudnn.enabled) == before
    assert all(module.training and not module._forward_hooks for module in residual.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in residual.parameters())


def test_sensitivity_of_a_convolution_is_its_kernel():
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    images = torch.rand(2, 3, 6, 6)
    layer = find_layer(model, "conv1", images[:1])
    found = receptive_field.sensitivity(model, images, layer, torch.tensor([2, 0]), torch.tensor([[2, 3], [0, 5]]))
    kernel = model[0].weight.detach().abs().sum(1)
    expected = torch.zeros(2, 6, 6)
    expected[0, 1:4, 2:5] = kernel[2]
    expected[1, :2, 4:] = kernel[0, 1:, :2]
    torch.testing.assert_close(found, expected)


def test_sensitivity_is_autograds_face_by_face(residual: nn.Module):
    images = torch.rand(3, 1, 8, 8)
    filters, places = torch.tensor([3, 0, 1]), torch.tensor([[0, 0], [4, 7], [3, 3]])
    layer = find_layer(residual, "conv2", images[:1])
    found = receptive_field.sensitivity(residual, images, layer, filters, places)
    for n in range(3):
        pixels = images[n : n + 1].clone().requires_grad_()
        unit = residual.conv2(residual.conv1(pixels).tanh())[0, filters[n], places[n, 0], places[n, 1]]
        (slope,) = torch.autograd.grad(unit, pixels)
        torch.testing.assert_close(found[n], slope[0].abs().sum(0))


def test_cores_hold_the_middle_half():
    weights = torch.zeros(4, 8, 8)
    weights[0] = 1.0  # even: a quarter to either side
    weights[1, 5, 2] = 3.0  # in one place
    weights[2, 1:5, 6] = torch.tensor([1.0, 1.0, 1.0, 1.0])  # a column
    fields = torch.arange(16).view(4, 4)
    assert receptive_field.sensitivity_boxes(weights, fields).tolist() == [
        [2, 2, 6, 6],
        [5, 2, 6, 3],
        [2, 6, 4, 7],
        [12, 13, 14, 15],
    ]
