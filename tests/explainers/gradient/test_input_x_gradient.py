"""Input x gradient against captum, torch.autograd and the closed form of a linear network."""

from __future__ import annotations

import torch
from captum.attr import InputXGradient
from torch import Tensor, nn
from torch.nn import functional as F

import fervis
from fervis.core.registry import build_plugin


def noise(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))


def network(channels: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_plugin("model", "vgg8", width=4).build(channels=channels, size=24, classes=tuple("abcdefg"))
        return model.eval()


def test_all_classes_at_once_are_captums_maps_one_by_one():
    for channels in (1, 3):
        model, images = network(channels), noise(3, channels, 24, 24)
        found = fervis.explain(model, images, "input_x_gradient", target="all")
        calls = [InputXGradient(model).attribute(images.clone().requires_grad_(), target=k).sum(1) for k in range(7)]
        expected = torch.stack(calls, 1).flatten(0, 1).detach()
        torch.testing.assert_close(found.maps, expected, rtol=0, atol=1e-6 * float(expected.abs().max()))
        assert found.signed
        assert (expected < 0).any()


def test_at_a_layer_it_is_the_output_times_its_gradient():
    model, images, labels = network(1), noise(3, 1, 24, 24), torch.tensor([6, 0, 3])
    outputs: list[Tensor] = []
    handle = model.get_submodule("body.conv5").register_forward_hook(lambda _m, _i, output: outputs.append(output))
    score = model(images).gather(1, labels[:, None]).sum()
    handle.remove()
    (slope,) = torch.autograd.grad(score, outputs)
    expected = F.interpolate((outputs[0] * slope).sum(1, keepdim=True), (24, 24), mode="bilinear")[:, 0].detach()
    found = fervis.explain(model, images, "input_x_gradient", "conv5", labels)
    torch.testing.assert_close(found.maps, expected, rtol=0, atol=1e-6 * float(expected.abs().max()))


def test_of_a_linear_network_it_adds_up_to_the_logit_without_its_bias():
    weights = torch.randn(3, 2, 6, 5, generator=torch.Generator().manual_seed(0))
    model = nn.Sequential(nn.Flatten(), nn.Linear(60, 3))
    model[1].weight.data = weights.flatten(1)
    images, labels = noise(4, 2, 6, 5), torch.tensor([0, 2, 1, 2])
    maps = fervis.explain(model, images, "input_x_gradient", "input", labels).maps
    torch.testing.assert_close(maps, (weights[labels] * images).sum(1))
    logits = (model(images) - model[1].bias).gather(1, labels[:, None])[:, 0].detach()
    torch.testing.assert_close(maps.sum((1, 2)), logits)
