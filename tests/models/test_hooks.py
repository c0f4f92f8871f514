"""One pass against torch.autograd written out by hand, on networks that hooks commonly get wrong."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fervis.core.layers import resolve_layers
from fervis.core.targets import Targets, class_targets
from fervis.errors import ConfigError
from fervis.models.hooks import TargetPass, activations, frozen, target_passes


def first_pass(model: nn.Module, images: Tensor, targets: Targets, layers: list[str]) -> TargetPass:
    return next(target_passes(model, images, targets, resolve_layers(model, layers, images[:1])))


def state(model: nn.Module) -> list[object]:
    hooks = [len(m._forward_hooks) + len(m._backward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    flags = [(p.requires_grad, None if p.grad is None else p.grad.clone()) for p in model.parameters()]
    return [hooks, [m.training for m in model.modules()], flags]


def by_hand(model: nn.Module, images: Tensor, classes: Tensor) -> dict[str, Tensor]:
    """Gradients in the residual network, with its forward pass written out once more."""
    x = images.clone().requires_grad_()
    one = model.conv1(x)
    two = model.conv2(one.tanh())
    logits = model.head((F.relu(two) + model.bypass(x)).mean((2, 3)))
    score = logits.gather(1, classes[:, None]).sum()
    found = torch.autograd.grad(score, [x, one, two])
    return dict(zip(["input", "conv1", "conv2"], found, strict=True))


def test_gradients_are_those_of_autograd(residual: nn.Module, generator: torch.Generator):
    images = torch.randn(5, 1, 8, 8, generator=generator)
    classes = torch.tensor([0, 1, 2, 1, 0])
    expected = by_hand(residual, images, classes)
    found = first_pass(residual, images, class_targets(classes), ["input", "conv1", "conv2"])
    for name, value in expected.items():
        torch.testing.assert_close(found.gradients[name], value, rtol=0, atol=1e-7)
    torch.testing.assert_close(found.activations["conv1"], residual.conv1(images).detach())
    torch.testing.assert_close(found.scores, residual(images).gather(1, classes[:, None])[:, 0].detach())


def test_a_branch_that_hangs_on_no_graph_gets_its_gradient(residual: nn.Module, generator: torch.Generator):
    # Without the input among the layers nothing before them is recorded; the bypass must still be reached.
    images = torch.randn(2, 1, 8, 8, generator=generator)
    classes = torch.tensor([2, 0])
    together = first_pass(residual, images, class_targets(classes), ["conv2", "bypass"]).gradients
    together = {"conv2": together["conv2"], "bypass": together["conv3"]}
    weight = residual.head.weight[classes][:, :, None, None] / 64
    torch.testing.assert_close(together["bypass"], weight.expand(2, 4, 8, 8).detach())
    torch.testing.assert_close(together["conv2"], by_hand(residual, images, classes)["conv2"])


@pytest.mark.parametrize("layers", [["input"], ["relu0"], ["conv1"], ["relu1", "conv1"], ["input", "conv2", "relu1"]])
def test_in_place_operations_change_nothing(in_place: Callable[[bool], nn.Module], layers: list[str]):
    images = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    kept = images.clone()
    targets = class_targets([0, 1, 2])
    one, two = (first_pass(in_place(flag), images, targets, layers) for flag in (False, True))
    for layer in layers:
        assert torch.equal(one.gradients[layer], two.gradients[layer])
        assert torch.equal(one.activations[layer], two.activations[layer])
    assert (one.activations.get("conv1", -torch.ones(1)) < 0).any(), "conv1's output is taken before the ReLU"
    assert torch.equal(images, kept)
    inner = [layer for layer in layers if layer != "input"]
    for layer, value in activations(in_place(True), images, inner).items() if inner else ():
        assert torch.equal(value, one.activations[layer])


def test_a_filter_as_target(residual: nn.Module, generator: torch.Generator):
    images = torch.randn(2, 1, 8, 8, generator=generator)
    found = first_pass(residual, images, Targets(layer="conv2", filters=(3,)), ["conv1"])
    one = residual.conv1(images).detach().requires_grad_()
    score = residual.conv2(one.tanh())[:, 3].mean((1, 2))
    (expected,) = torch.autograd.grad(score.sum(), one)
    torch.testing.assert_close(found.gradients["conv1"], expected)
    torch.testing.assert_close(found.scores, score.detach())


def test_activations_stop_after_the_deepest_layer(residual: nn.Module):
    def never(*_: object) -> None:
        raise AssertionError("the pass went on")

    residual.head.register_forward_hook(never)
    found = activations(residual, torch.ones(1, 1, 8, 8), ["conv1", "conv2"])
    torch.testing.assert_close(found["conv2"], residual.conv2(found["conv1"].tanh()).detach())


def test_a_layer_without_influence_is_refused(residual: nn.Module):
    with pytest.raises(ConfigError, match="layer=conv3: the target does not depend on it"):
        first_pass(residual, torch.ones(1, 1, 8, 8), Targets(layer="conv2", filters=(0,)), ["bypass"])


@pytest.mark.parametrize("fails", [False, True])
def test_the_network_is_left_as_it_was(residual: nn.Module, fails: bool):
    residual.train()
    residual.conv2.eval()
    residual.bypass.weight.requires_grad_(False)
    residual.head.weight.grad = torch.full_like(residual.head.weight, 7.0)
    before = state(residual)
    layers = resolve_layers(residual, "conv1", torch.ones(1, 1, 8, 8))
    images = torch.ones(1, 1 if not fails else 2, 8, 8)
    try:
        next(target_passes(residual, images, class_targets([0]), layers))
        activations(residual, images, ["conv1"])
    except RuntimeError:
        assert fails
    after = state(residual)
    assert before[:2] == after[:2]
    for (flag, grad), (flag_after, grad_after) in zip(before[2], after[2], strict=True):  # pyright: ignore
        assert flag == flag_after
        assert grad is grad_after is None or torch.equal(grad, grad_after)


def test_gradients_flow_inside_no_grad_and_inference_mode(residual: nn.Module):
    images, targets = torch.ones(1, 1, 8, 8), class_targets([1])
    expected = first_pass(residual, images, targets, ["input"]).gradients["input"]
    with torch.no_grad():
        assert torch.equal(first_pass(residual, images, targets, ["input"]).gradients["input"], expected)
    with torch.inference_mode():
        inside = first_pass(residual, images.clone(), targets, ["input"]).gradients["input"]
    assert torch.equal(inside, expected)


def test_undisturbed_uses_running_statistics():
    norm = nn.BatchNorm2d(1).train()
    with frozen(norm):
        norm(torch.full((4, 1, 2, 2), 5.0))
    assert norm.training
    assert norm.running_mean is not None
    assert norm.running_mean.item() == 0
