"""A quickened network computes what the network computes, and is given back as it was."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fervis.core.layers import find_layer
from fervis.explainers.activation_maximization.objectives import class_values, filter_values
from fervis.models.fast_inference import fold_chain, fused


class Block(nn.Module):
    """A convolution with its BatchNorm, whose output may also be read before it, or which may run twice."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.conv1, self.norm1 = nn.Conv2d(1, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.conv2, self.norm2 = nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.head = nn.Linear(6, 3)
        for norm in (self.norm1, self.norm2):
            for values in (norm.running_mean, norm.running_var, norm.weight.data, norm.bias.data):
                assert values is not None
                values.uniform_(0.3, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(self.conv1(x)).relu()
        y = self.conv2(x)
        z = self.norm2(y)
        if self.way == "read":
            z = z + y
        if self.way == "twice":
            z = self.norm2(self.conv2(z))
        return self.head(z.mean((2, 3)))


@pytest.fixture(params=["plain", "read", "twice"])
def block(request: pytest.FixtureRequest) -> Block:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Block(request.param).eval()


class Pooled(nn.Module):
    """A rectifier before a max-pooling, whose output may also be read before it."""

    def __init__(self, rectifier: nn.Module, pool: nn.Module, read: bool) -> None:
        super().__init__()
        self.conv, self.rectifier, self.pool, self.read = nn.Conv2d(1, 4, 3), rectifier, pool, read

    def forward(self, x: Tensor) -> Tensor:
        rectified = self.rectifier(self.conv(x))
        pooled = self.pool(rectified)
        return pooled.flatten(1).sum(1) + (rectified.flatten(1).sum(1) if self.read else 0)


def picture() -> Tensor:
    return torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def test_it_computes_the_same_with_the_same_gradients(block: Block):
    images = picture().requires_grad_()
    expected = block(images)
    (slope,) = torch.autograd.grad(expected.sum(), images)
    with fused(block, lambda: block(picture()), torch.float32, block):
        found = block(images)
        (own,) = torch.autograd.grad(found.sum(), images)
        # What follows a convolution alone is part of it, unless another reads the convolution's output.
        assert ("forward" in vars(block.norm1)) == (block.way != "read")
        assert ("forward" in vars(block.norm2)) == (block.way == "plain")
        assert block.conv1.weight.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(own, slope, rtol=1e-4, atol=1e-5)


def test_what_follows_on_is_found_by_running(block: Block):
    found = fold_chain(block, lambda: block(picture()))
    expected = [(block.conv1, block.norm1), (block.conv2, block.norm2)]
    assert found == (expected[:1] if block.way == "twice" else expected)


@pytest.mark.parametrize(
    ("rectifier", "pool", "read", "swapped"),
    [
        (nn.ReLU(), nn.MaxPool2d(2), False, True),
        (nn.ReLU(inplace=True), nn.MaxPool2d(3, stride=1, padding=1), False, True),
        (nn.LeakyReLU(0.2), nn.MaxPool2d(2, ceil_mode=True), False, True),
        (nn.LeakyReLU(0.2), nn.MaxPool2d(2), True, False),
        (nn.LeakyReLU(-0.2), nn.MaxPool2d(2), False, False),
        (nn.GELU(), nn.MaxPool2d(2), False, False),
        (nn.ReLU(), nn.AvgPool2d(2), False, False),
    ],
)
def test_a_rectifier_comes_after_the_pooling(rectifier: nn.Module, pool: nn.Module, read: bool, swapped: bool):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Pooled(rectifier, pool, read)
    images = picture().requires_grad_()
    expected = network(images)
    (slope,) = torch.autograd.grad(expected.sum(), images)
    with fused(network, lambda: network(picture()), torch.float32, network):
        found = network(images)
        (own,) = torch.autograd.grad(found.sum(), images)
        assert ("forward" in vars(rectifier)) == ("forward" in vars(pool)) == swapped
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(own, slope)
    assert not any("forward" in vars(module) for module in network.modules())
    # One that is asked for is left where it is.
    with fused(network, lambda: network(picture()), torch.float32, rectifier):
        assert "forward" not in vars(rectifier)


@pytest.mark.parametrize("fails", [False, True])
def test_it_is_given_back_as_it_was(block: Block, fails: bool):
    state = {name: (value.data_ptr(), value.stride(), value.clone()) for name, value in block.state_dict().items()}
    try:
        with fused(block, lambda: block(picture()), torch.bfloat16, block.head):
            assert block.conv2.weight.dtype == torch.bfloat16
            if fails:
                raise RuntimeError("midway")
    except RuntimeError:
        assert fails
    assert block.state_dict().keys() == state.keys()
    for name, value in block.state_dict().items():
        pointer, stride, kept = state[name]
        assert value.data_ptr() == pointer
        assert value.stride() == stride
        assert torch.equal(value, kept)
    assert block.conv1.bias is None
    assert not any("forward" in vars(module) or module._forward_hooks for module in block.modules())


@pytest.mark.parametrize("name", ["conv1", "norm1", "conv2", "norm2"])
def test_objectives_of_a_quick_network_are_those_of_the_network(block: Block, name: str):
    if block.way == "twice" and name.endswith("2"):
        pytest.skip("a layer that runs twice has no one output")
    layer = find_layer(block, name, picture()[:1])
    with filter_values(block, layer, [4, 1], "mean") as values:
        expected = values(picture())
    with filter_values(block, layer, [4, 1], "mean", torch.float32) as values:
        found = [values(picture()), values(picture())]
    torch.testing.assert_close(found[0], expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(*found)
    with class_values(block, [2, 0], torch.float32) as values:
        torch.testing.assert_close(values(picture()), block(picture())[[0, 1], [2, 0]], rtol=1e-4, atol=1e-5)
