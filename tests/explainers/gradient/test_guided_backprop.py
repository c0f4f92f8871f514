"""Guided backpropagation, the deconvolution network and guided Grad-CAM against captum, on networks of modules."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from captum.attr import Deconvolution, GuidedBackprop, GuidedGradCam
from torch import Tensor, nn
from torch.nn import functional as F

import fervis
from fervis.core.registry import build_plugin
from fervis.errors import ConfigError

pytestmark = pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU activations")
CAPTUM: dict[str, Any] = {"guided_backprop": GuidedBackprop, "deconvnet": Deconvolution}
REDUCED = {"sum": lambda values: values.sum(1), "magnitude": lambda values: values.abs().amax(1)}


def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_plugin("model", "resnet18", width=4).build(channels=3, size=16, classes=tuple("abcd")).eval()


def images() -> Tensor:
    return torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def assert_same(found: Tensor, expected: Tensor) -> None:
    expected = expected.detach()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6 * float(expected.abs().max()))


@pytest.mark.parametrize("method", list(CAPTUM))
@pytest.mark.parametrize("channels", list(REDUCED))
def test_all_classes_at_once_are_captums_maps_one_by_one(method: str, channels: str):
    model = network()
    found = fervis.explain(model, images(), method, target="all", channels=channels)
    calls = [CAPTUM[method](model).attribute(images().requires_grad_(), target=target) for target in range(4)]
    assert_same(found.maps, torch.stack([REDUCED[channels](call) for call in calls], 1).flatten(0, 1))
    assert found.signed == (channels == "sum")


@pytest.mark.parametrize("method", list(CAPTUM))
def test_at_a_layer_the_rectifiers_behind_it_are_ruled(method: str):
    model = network()
    found = fervis.explain(model, images(), method, "layer2.0.conv1", 2, channels="sum")
    rest = nn.Sequential(
        model.body.layer2[0].bn1, model.body.layer2[0].relu1, model.body.layer2[0].conv2, model.body.layer2[0].bn2
    )

    class FromLayer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model, self.rest = model, rest

        def forward(self, inner: Tensor, shortcut: Tensor) -> Tensor:
            body = self.model.body
            x = body.layer2[1](body.layer2[0].relu2(self.rest(inner) + shortcut))
            return body.fc(body.flatten(body.avgpool(body.layer4(body.layer3(x)))))

    body, block = model.body, model.body.layer2[0]
    with torch.no_grad():
        x = body.layer1(body.relu(body.bn1(body.conv1((images() - model.mean) / model.std))))
        inner, shortcut = block.conv1(x), block.downsample(x)
    at_layer, _ = CAPTUM[method](FromLayer()).attribute((inner.requires_grad_(), shortcut.requires_grad_()), target=2)
    assert_same(found.maps, F.interpolate(at_layer.sum(1, keepdim=True), (16, 16), mode="bilinear")[:, 0])


@pytest.mark.parametrize("channels", list(REDUCED))
def test_guided_gradcam_is_captums_with_the_papers_interpolation(channels: str):
    model = network()
    found = fervis.explain(
        model, images(), "guided_gradcam", ["layer2.1.conv2", "layer3.0.bn1"], [1, 0, 3], channels=channels
    )
    for layer, maps in zip(
        (model.body.layer2[1].conv2, model.body.layer3[0].bn1), found.maps.unflatten(0, (2, 3)), strict=True
    ):
        method = GuidedGradCam(model, layer)
        expected = method.attribute(
            images().requires_grad_(), target=torch.tensor([1, 0, 3]), interpolate_mode="bilinear"
        )
        assert expected.abs().max() > 0
        assert_same(maps, REDUCED[channels](expected))


@pytest.mark.parametrize("method", [*CAPTUM, "guided_gradcam"])
def test_the_channels_that_are_known(method: str):
    with pytest.raises(ConfigError, match=r"explainer.channels=sums: expected magnitude or sum. Did you mean sum"):
        build_plugin("explainer", method, channels="sums")


def test_the_shipped_networks_leaky_rectifiers_are_ruled():
    model = build_plugin("model", "vgg8", width=4).build(channels=1, size=16, classes=tuple("abc")).eval()
    faces = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(2))
    guided, plain = (fervis.explain(model, faces, name, target=0).maps for name in ("guided_backprop", "saliency"))
    assert (guided - plain).abs().max() > 0.1 * plain.max()
