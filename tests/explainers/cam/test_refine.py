"""RefineCAM and other fusions of layers against loops over maps of single layers.

Compared once by hand with a Grad-CAM of positive gradients (LayerCAM) per layer: torch-cam 0.5.0 and pytorch-grad-cam
1.5.7 agree to 2e-7 on the product, brought to [0, 1]. With their default, Grad-CAM++, they differ from fervis and from
each other as their Grad-CAM++ does. torch-cam's LayerCAM fusion agrees with ``maximum`` to 2e-6.
"""

from __future__ import annotations

import math

import pytest
import torch
from support.convolutions import SmallNet, noise, seeded
from torch import nn
from torch.nn import functional as F

import fervis
from fervis.core.layers import resolve_layers
from fervis.core.registry import build_plugin
from fervis.core.targets import class_targets
from fervis.errors import ConfigError
from fervis.models.batch import Batch

LAYERS = ["relu1", "conv2", "relu2"]


def of_loops(model: nn.Module, image: torch.Tensor, target: int, fusion: str) -> torch.Tensor:
    planes = []
    for layer in LAYERS:
        layers = resolve_layers(model, layer, image[None])
        batch = Batch(model, image[None], layers, class_targets([target]))
        values = build_plugin("explainer", "layercam").explain(batch).maps[layer][0, 0]
        low, high = (0.0, float(values.max())) if fusion == "maximum" else (float(values.min()), float(values.max()))
        scaled = (values - low) / (high - low)
        if fusion == "maximum":
            scaled = torch.tensor([[math.tanh(2 * float(v)) for v in row] for row in scaled])
        planes.append(F.interpolate(scaled[None, None], (10, 10), mode="bilinear", align_corners=False)[0, 0])
    fused = torch.zeros(10, 10)
    for i in range(10):
        for j in range(10):
            values = [float(plane[i, j]) for plane in planes]
            fused[i, j] = {"product": math.prod(values), "mean": sum(values) / 3, "maximum": max(values)}[fusion]
    return fused


@pytest.mark.parametrize("fusion", ["product", "mean", "maximum"])
def test_maps_are_those_of_a_loop_over_single_layers(fusion: str):
    model, images = seeded(SmallNet), noise(2, 1, 10, 10)
    found = fervis.explain(model, images, "refine", target="all", layers=LAYERS, method="layercam", fusion=fusion).maps
    for number, image in enumerate(images):
        for target in range(4):
            expected = of_loops(model, image, target, fusion)
            torch.testing.assert_close(found[4 * number + target], expected, rtol=0, atol=1e-5)


def test_a_layer_that_shows_nothing_makes_the_product_0():
    model, images = seeded(SmallNet), noise(1, 1, 10, 10)
    with torch.no_grad():
        model.get_submodule("conv2").weight.zero_()
        model.get_submodule("conv2").bias.fill_(1.0)
    assert torch.equal(fervis.explain(model, images, "refine", layers=LAYERS).maps, torch.zeros(1, 10, 10))


def test_the_default_are_the_stages_and_without_any_all_layers():
    model = build_plugin("model", "vgg8", width=4).build(channels=1, size=16, classes=("a", "b")).eval()
    images = noise(2, 1, 16, 16)
    stages = fervis.explain(model, images, "refine", target=1, method="layercam")
    assert stages.unit == "product of the scaled maps of 4 layers"
    listed = fervis.explain(
        model, images, "refine", target=1, method="layercam", layers=["relu2", "relu4", "relu6", "relu8"]
    )
    torch.testing.assert_close(stages.maps, listed.maps)
    plain = nn.Sequential(nn.Conv2d(1, 3, 1), nn.ReLU(), nn.Conv2d(3, 3, 1), nn.ReLU(), nn.Flatten(), nn.Linear(768, 2))
    one, two = (
        fervis.explain(plain, images, "refine", target=1, **knobs).maps for knobs in ({}, {"layers": ["0", "2"]})
    )
    torch.testing.assert_close(one, two)


def test_refusals():
    model, images = seeded(SmallNet), noise(1, 1, 10, 10)
    with pytest.raises(ConfigError, match=r"explainer.layers=input: a CAM is of a layer"):
        fervis.explain(model, images, "refine", layers="input")
    with pytest.raises(ConfigError, match=r"layer=conv9: there is no such layer"):
        fervis.explain(model, images, "refine", layers=["conv9"])
