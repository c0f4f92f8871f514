"""Backward rules against captum's guided backpropagation, and what they leave of a network."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import pytest
import torch
from captum.attr import Deconvolution, GuidedBackprop
from torch import Tensor, nn

from fervis.core.layers import resolve_layers
from fervis.core.targets import class_targets
from fervis.models.batch import Batch
from fervis.models.rules import applied, rule_of


class GuidedRectifier(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return grad.clamp(min=0) * (x > 0)


class DeconvolutionRectifier(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad.clamp(min=0)


class Rectified(nn.ReLU):
    pass


def network() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(2, 8, 3),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(8 * 25, 16),
            Rectified(),
            nn.Linear(16, 4),
        ).eval()


def images() -> Tensor:
    return torch.randn(3, 2, 12, 12, generator=torch.Generator().manual_seed(1))


@pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU activations")
@pytest.mark.parametrize(
    ("method", "function"), [(GuidedBackprop, GuidedRectifier), (Deconvolution, DeconvolutionRectifier)]
)
def test_a_rule_for_rectifiers_is_captums_method(method: Any, function: Any):
    model = network()
    classes = torch.arange(4).expand(3, -1)
    batch = Batch(model, images(), resolve_layers(model, "input", images()[:1]), class_targets(classes))
    plain = [one.gradients["input"] for one in batch.gradients()]
    for one in batch.gradients({nn.ReLU: lambda _, x: function.apply(x)}):
        # captum replaces modules of the very type nn.ReLU; the subclass is one for this comparison.
        model[7].__class__ = nn.ReLU
        expected = method(model).attribute(images().requires_grad_(), target=one.target)
        model[7].__class__ = Rectified
        scale = float(expected.abs().max())
        torch.testing.assert_close(one.gradients["input"], expected.detach(), rtol=0, atol=1e-6 * scale)
        assert (one.gradients["input"] - plain[one.target]).abs().max() > 0.1 * scale
        torch.testing.assert_close(one.scores, model(images())[:, one.target].detach())
    after = [one.gradients["input"] for one in batch.gradients()]
    assert all(map(torch.equal, plain, after))


def test_a_rule_covers_subclasses_without_one_of_their_own():
    rules = {nn.ReLU: lambda _, x: x + 1, nn.Module: lambda _, x: x + 2}
    own: dict[type[nn.Module], Callable[[nn.Module, Tensor], Tensor]] = {**rules, Rectified: lambda _, x: x + 3}
    assert rule_of(Rectified(), rules) is rules[nn.ReLU]
    assert rule_of(Rectified(), own) is own[Rectified]
    assert rule_of(nn.ReLU(), own) is own[nn.ReLU]
    assert rule_of(nn.Tanh(), rules) is rules[nn.Module]
    assert rule_of(nn.Tanh(), {nn.ReLU: rules[nn.ReLU]}) is None


@pytest.mark.parametrize("fails", [False, True])
def test_a_module_whose_forward_was_replaced_before_keeps_its_replacement(fails: bool):
    model = nn.Sequential(nn.ReLU(), nn.ReLU())

    def doubled(self: nn.Module, x: Tensor) -> Tensor:
        return 2 * x

    model[0].forward = types.MethodType(doubled, model[0])
    replacement = model[0].forward
    x = torch.tensor([[-1.0, 3.0]])
    try:
        with applied({nn.ReLU: lambda module, x: x + (10 if module is model[0] else 100)}, model):
            assert model(x).tolist() == [[109, 113]]
            if fails:
                raise KeyError("a consumer's own")
    except KeyError:
        assert fails
    assert model[0].forward is replacement
    assert "forward" not in vars(model[1])
    assert model(x).tolist() == [[0, 6]]
