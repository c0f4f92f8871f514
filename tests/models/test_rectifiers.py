"""Rules for rectifiers: the same map however a network calls its ReLU, and refusals where no rule holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import fervis
from fervis.errors import ConfigError

METHODS = ("guided_backprop", "deconvnet")
RELUS: dict[str, Callable[[Tensor], Tensor]] = {
    "F.relu": F.relu,
    "F.relu in place": lambda x: F.relu(x, inplace=True),
    "nn.ReLU reused": nn.ReLU(),
    "nn.ReLU reused, in place": nn.ReLU(inplace=True),
    "torch.relu": torch.relu,
    "x.relu": lambda x: x.relu(),
    "x.relu_": lambda x: x.relu_(),
    "x.clamp_min": lambda x: x.clamp_min(0),
    "x.clamp": lambda x: x.clamp(min=0),
    "x.clamp_": lambda x: x.clamp_(min=0),
    "F.threshold": lambda x: F.threshold(x, 0, 0),
    "torch.maximum": lambda x: torch.maximum(x, torch.zeros(())),
    "PReLU of slope 0": nn.PReLU(init=0.0),
    "LeakyReLU of slope 0": nn.LeakyReLU(0.0),
    "ReLU6, which caps nothing here": nn.ReLU6(),
    "nn.Hardtanh from 0": nn.Hardtanh(0.0, 100.0),
}


class Calls(nn.Module):
    """Three layers, all rectified by the same function or module."""

    def __init__(self, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.conv1, self.conv2, self.head = nn.Conv2d(2, 6, 3), nn.Conv2d(6, 6, 3), nn.Linear(6 * 16, 4)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        x = self.activation(self.conv1(x))
        x = F.max_pool2d(self.activation(self.conv2(x)), 2)
        return self.head(x.flatten(1))


class Rule(torch.autograd.Function):
    """The formulas of the papers, one activation at a time."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, method: str, activation: Callable[[Tensor], Tensor]) -> Tensor:
        with torch.enable_grad():
            root = x.detach().requires_grad_()
            output = activation(root)
            (ctx.slope,) = torch.autograd.grad(output.sum(), root)
        ctx.method = method
        return output.detach()

    @staticmethod
    def backward(ctx: Any, *arriving: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = arriving
        positive = gradient * (gradient > 0)
        return positive if ctx.method == "deconvnet" else positive * ctx.slope, None, None


def images() -> Tensor:
    return torch.randn(3, 2, 12, 12, generator=torch.Generator().manual_seed(1))


def by_formula(method: str, activation: Callable[[Tensor], Tensor], target: int) -> Tensor:
    pixels = images().requires_grad_()
    logits = Calls(lambda x: Rule.apply(x, method, activation))(pixels)  # pyright: ignore[reportArgumentType]
    return torch.autograd.grad(logits[:, target].sum(), pixels)[0].sum(1)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("call", list(RELUS))
def test_every_way_to_call_relu_gives_the_map_of_the_formula(method: str, call: str):
    found = fervis.explain(Calls(RELUS[call]), images(), method, target=2, channels="sum")
    expected = by_formula(method, F.relu, 2)
    torch.testing.assert_close(found.maps, expected, rtol=0, atol=1e-6 * float(expected.abs().max()))
    pixels = images().requires_grad_()
    (plain,) = torch.autograd.grad(Calls(F.relu)(pixels)[:, 2].sum(), pixels)
    assert (plain.sum(1) - expected).abs().max() > 0.1 * expected.abs().max(), "the plain gradient is another map"


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("activation", [nn.LeakyReLU(0.1), nn.ELU(), nn.GELU(), nn.SiLU(), F.softplus, F.hardswish])
def test_other_rectifiers_pass_positive_gradients_by_their_own_slope(method: str, activation: Any):
    found = fervis.explain(Calls(activation), images(), method, target=1, channels="sum")
    expected = by_formula(method, activation, 1)
    torch.testing.assert_close(found.maps, expected, rtol=0, atol=1e-6 * float(expected.abs().max()))


@pytest.mark.parametrize("method", [*METHODS, "guided_gradcam"])
@pytest.mark.parametrize("activation", [torch.tanh, torch.sigmoid, lambda x: x.clamp(-1, 1), lambda x: x * (x > 0)])
def test_a_network_without_a_known_rectifier_is_refused(method: str, activation: Any):
    with pytest.raises(ConfigError, match=f"explainer={method}: no rectifier .* use explainer=saliency"):
        fervis.explain(Calls(activation), images(), method, target=0)


def test_an_activation_whose_inside_cannot_be_seen_is_refused():
    class Own(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x.clamp(min=0)

        @staticmethod
        def backward(ctx: Any, *arriving: Tensor) -> Tensor:
            return arriving[0]

    with pytest.raises(ConfigError, match=r"explainer=deconvnet: .*custom backward pass .OwnBackward"):
        fervis.explain(Calls(lambda x: F.relu(Own.apply(x))), images(), "deconvnet", target=0)  # pyright: ignore


@pytest.mark.parametrize("method", METHODS)
def test_where_all_signals_are_positive_both_are_the_gradient(method: str):
    model = Calls(F.relu)
    for parameter in model.parameters():
        parameter.data.abs_()
    found = fervis.explain(model, images().abs(), method, target="all", channels="sum")
    plain = torch.stack(list(gradients(model, images().abs())), 1).flatten(0, 1)
    torch.testing.assert_close(found.maps, plain, rtol=1e-5, atol=1e-7)


def gradients(model: nn.Module, faces: Tensor) -> Iterator[Tensor]:
    for target in range(4):
        pixels = faces.clone().requires_grad_()
        yield torch.autograd.grad(model(pixels)[:, target].sum(), pixels)[0].sum(1)
