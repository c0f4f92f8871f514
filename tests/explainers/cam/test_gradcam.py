"""Grad-CAM against captum, one call per layer and class, and against the closed form of a linear head."""

from __future__ import annotations

import pytest
import torch
from captum.attr import LayerGradCam
from torch import Tensor, nn
from torch.nn import functional as F

import fervis
from fervis.core.layers import resolve_layers
from fervis.core.registry import build_plugin
from fervis.core.results import LayerMaps
from fervis.core.targets import class_targets
from fervis.models.batch import Batch

CLASSES = tuple("abcdefg")


def noise(*shape: int, seed: int = 1) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def network(name: str, size: int, channels: int, **knobs: object) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_plugin("model", name, **knobs).build(channels=channels, size=size, classes=CLASSES).eval()
        for module in model.modules():  # timm begins residual branches at 0, where no gradient reaches
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 1.5)
        return model


@pytest.mark.parametrize(
    ("name", "knobs", "size", "channels"),
    [("vgg8", {"width": 4}, 48, 1), ("timm", {"architecture": "resnet18"}, 64, 3)],
)
def test_all_layers_and_classes_at_once_are_captums_maps_one_by_one(name: str, knobs: dict, size: int, channels: int):
    model, images = network(name, size, channels, **knobs), noise(3, channels, size, size)
    layers = resolve_layers(model, "all", images[:1])
    targets = class_targets(torch.arange(7).expand(3, -1))
    found = build_plugin("explainer", "gradcam").explain(Batch(model, images, layers, targets))
    assert isinstance(found, LayerMaps)
    assert len(found.maps) == len(layers) >= 8
    for layer in layers:
        method = LayerGradCam(model, model.get_submodule(layer.path))
        calls = [method.attribute(images, target=target, relu_attributions=True) for target in range(7)]
        expected = torch.cat(calls, 1).detach()
        assert found.maps[layer.name].shape == (3, 7, *layer.grid)
        scale = float(expected.max())
        torch.testing.assert_close(found.maps[layer.name], expected, rtol=0, atol=1e-6 * scale)
        assert scale > 0


class Pooled(nn.Module):
    """Convolutions, the mean over positions, and one linear layer: what CAM was made for."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2, self.head = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 6, 3), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv2(self.conv1(x).relu()).mean((2, 3)))


def pooled() -> Pooled:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Pooled()


@pytest.mark.parametrize("rectify", [True, False])
def test_of_a_pooled_layer_under_a_linear_head_it_is_the_class_activation_map(rectify: bool):
    model, images = pooled(), noise(2, 1, 12, 12)
    result = fervis.explain(model, images, "gradcam", "last_conv", "all", rectify=rectify)
    outputs = model.conv2(model.conv1(images).relu())
    cam = torch.einsum("kc,nchw->nkhw", model.head.weight, outputs).detach() / 64
    expected = cam.relu() if rectify else cam
    expected = F.interpolate(expected, (12, 12), mode="bilinear").flatten(0, 1)
    torch.testing.assert_close(result.maps, expected, rtol=0, atol=1e-6)
    assert result.signed is not rectify
    assert (cam < 0).any()
    assert (cam > 0).any()


def test_a_map_of_nothing_but_evidence_against_the_target_is_zero():
    model, images = pooled(), noise(2, 1, 12, 12)
    with torch.no_grad():
        model.conv2.weight.abs_()
        model.conv2.bias.fill_(1.0)
        model.head.weight[1] = -1.0
    found = fervis.explain(model, images, "gradcam", "conv2", 1)
    assert torch.equal(found.maps, torch.zeros(2, 12, 12))
    assert fervis.explain(model, images, "gradcam", "conv2", 1, rectify=False).maps.max() < 0


def test_a_filter_is_a_target(residual: nn.Module):
    images = noise(2, 1, 8, 8)
    found = fervis.explain(residual, images, "gradcam", "conv1", "conv2/3", rectify=False).maps
    leaf = residual.conv1(images).detach().requires_grad_()
    (slope,) = torch.autograd.grad(residual.conv2(leaf.tanh())[:, 3].mean((1, 2)).sum(), leaf)
    expected = (slope.mean((2, 3), keepdim=True) * leaf).sum(1).detach()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-7)
