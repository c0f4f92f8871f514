"""The CAMs of one gradient against loops over each paper's formula, and against identities between them.

Compared once by hand with pytorch-grad-cam 1.5.7 and torch-cam 0.5.0 at a rectified layer, every map brought to [0, 1]
as both do: Grad-CAM, HiResCAM (pytorch-grad-cam alone), LayerCAM and XGrad-CAM agree to 7e-7, and a resized map to
3e-7. Grad-CAM++ differs from both. Equation 19 of arXiv:1710.11063, which decides, has g² / (2g² + g³ ΣA) with g at one
position and the sum over all:

- torch-cam has Σ(g³ A) in place of g³ ΣA, another number unless g is constant; its map differs by 0.13 to 0.23.
- pytorch-grad-cam adds 1e-6 to the paper's denominator, which for a gradient below 1e-3, as behind a global average, is
  more than 2g² itself and makes the weights cubic in g; its map differs by 0.005 to 0.008.

Both leave exp(logit), a factor of the whole map, out, as fervis does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from support.convolutions import PooledNet, SmallNet, activations_and_gradients, activations_at, noise, one_hot, seeded
from torch import Tensor

import fervis
from fervis.core.layers import resolve_layers
from fervis.core.registry import build_plugin
from fervis.core.targets import class_targets
from fervis.explainers.cam.weighting import MAPS_OF_PASS
from fervis.models.batch import Batch

Loops = Callable[[Tensor, Tensor], Tensor]


def positions(channel: Tensor) -> list[tuple[int, int]]:
    return [(i, j) for i in range(channel.shape[0]) for j in range(channel.shape[1])]


def weighted(activations: Tensor, weights: list[float]) -> Tensor:
    values = torch.zeros_like(activations[0])
    for channel, weight in zip(activations, weights, strict=True):
        for i, j in positions(channel):
            values[i, j] += weight * channel[i, j]
    return values


def gradcam(activations: Tensor, gradients: Tensor) -> Tensor:
    """Equations 1 and 2 of arXiv:1610.02391."""
    return weighted(activations, [float(sum(g[i, j] for i, j in positions(g)) / g.numel()) for g in gradients])


def gradcam_plusplus(activations: Tensor, gradients: Tensor) -> Tensor:
    """Equations 5, 7 and 19 of arXiv:1710.11063."""
    weights = []
    for a, g in zip(activations, gradients, strict=True):
        total, weight = sum(float(a[i, j]) for i, j in positions(a)), 0.0
        for i, j in positions(g):
            slope = float(g[i, j])
            alpha = slope**2 / (2 * slope**2 + total * slope**3) if slope != 0 else 0.0
            weight += alpha * max(slope, 0.0)
        weights.append(weight)
    return weighted(activations, weights)


def hirescam(activations: Tensor, gradients: Tensor) -> Tensor:
    """The element-wise product of arXiv:2011.08891, summed over channels."""
    values = torch.zeros_like(activations[0])
    for a, g in zip(activations, gradients, strict=True):
        for i, j in positions(a):
            values[i, j] += a[i, j] * g[i, j]
    return values


def layercam(activations: Tensor, gradients: Tensor) -> Tensor:
    """Equations 5 to 7 of doi:10.1109/TIP.2021.3089943."""
    values = torch.zeros_like(activations[0])
    for a, g in zip(activations, gradients, strict=True):
        for i, j in positions(a):
            values[i, j] += a[i, j] * max(float(g[i, j]), 0.0)
    return values


def xgradcam(activations: Tensor, gradients: Tensor) -> Tensor:
    """Equation 6 of arXiv:2008.02312."""
    weights = []
    for a, g in zip(activations, gradients, strict=True):
        total = sum(float(a[i, j]) for i, j in positions(a))
        weights.append(sum(float(g[i, j] * a[i, j]) / total for i, j in positions(g)) if total else 0.0)
    return weighted(activations, weights)


LOOPS: dict[str, Loops] = {
    "gradcam": gradcam,
    "gradcam_plusplus": gradcam_plusplus,
    "hirescam": hirescam,
    "layercam": layercam,
    "xgradcam": xgradcam,
}


def own_maps(name: str, model: Any, images: Tensor, layers: list[str], classes: int, **knobs: Any) -> dict[str, Tensor]:
    found = resolve_layers(model, layers, images[:1])
    targets = class_targets(torch.arange(classes).expand(len(images), -1))
    return build_plugin("explainer", name, **knobs).explain(Batch(model, images, found, targets)).maps


@pytest.mark.parametrize("rectify", [True, False])
@pytest.mark.parametrize("name", LOOPS)
def test_maps_of_all_layers_and_classes_are_those_of_loops_over_the_formula(name: str, rectify: bool):
    model, images = seeded(SmallNet), noise(2, 1, 10, 10)
    found = own_maps(name, model, images, ["relu1", "relu2"], 4, rectify=rectify)
    for layer in ("relu1", "relu2"):
        for target in range(4):
            pairs = activations_and_gradients(model, images, layer, one_hot(target, 4))
            expected = torch.stack([LOOPS[name](*pair) for pair in pairs])
            expected = expected.clamp(min=0) if rectify else expected
            scale = float(expected.abs().max())
            assert scale > 0
            torch.testing.assert_close(found[layer][:, target].double(), expected, rtol=0, atol=1e-5 * scale)


def test_every_function_of_a_pass_has_loops_that_test_it():
    assert LOOPS.keys() == MAPS_OF_PASS.keys()


@pytest.mark.parametrize("name", ["gradcam", "hirescam", "xgradcam"])
def test_under_a_mean_and_a_linear_head_they_are_the_class_activation_map(name: str):
    model, images = seeded(PooledNet), noise(2, 1, 12, 12)
    outputs, _ = activations_at(model, images, "relu2")
    expected = torch.einsum("kc,nchw->nkhw", model.get_submodule("head").weight, outputs).detach() / 64
    found = own_maps(name, model, images, ["relu2"], 3, rectify=False)["relu2"]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_hirescam_of_a_network_without_bias_sums_to_the_logit():
    model, images = seeded(SmallNet, False), noise(3, 1, 10, 10)
    found = own_maps("hirescam", model, images, ["relu1", "conv2", "relu2"], 4, rectify=False)
    for maps in found.values():
        torch.testing.assert_close(maps.sum((2, 3)), model(images).detach(), rtol=1e-5, atol=1e-6)


def test_xgradcam_sums_to_the_same_as_hirescam():
    model, images = seeded(SmallNet), noise(3, 1, 10, 10)
    one, two = (
        own_maps(name, model, images, ["relu2"], 4, rectify=False)["relu2"] for name in ("xgradcam", "hirescam")
    )
    torch.testing.assert_close(one.sum((2, 3)), two.sum((2, 3)), rtol=1e-4, atol=1e-6)


def test_gradcam_plusplus_stays_finite_where_sums_are_negative():
    """At 2 + g ΣA = 0 the formula, meant for rectified activations, has no value; a negative sum counts as 0."""
    activations, gradients = torch.full((1, 1, 2, 2), -1.0), torch.full((1, 1, 2, 2), 0.5)
    found = MAPS_OF_PASS["gradcam_plusplus"](activations, gradients)
    torch.testing.assert_close(found, torch.full((1, 2, 2), -4 * 0.5 / 2))


def test_xgradcam_gives_a_channel_that_sums_to_0_no_weight():
    activations, gradients = torch.tensor([[[[1.0, -1.0]], [[2.0, 2.0]]]]), torch.ones(1, 2, 1, 2)
    found = MAPS_OF_PASS["xgradcam"](activations, gradients)
    torch.testing.assert_close(found, torch.tensor([[[2.0, 2.0]]]))


@pytest.mark.parametrize("name", LOOPS)
def test_a_filter_is_a_target(name: str):
    model, images = seeded(SmallNet), noise(2, 1, 10, 10)
    found = fervis.explain(model, images, name, "relu1", "conv2/3", rectify=False).maps
    for image, values in zip(images, found, strict=True):
        leaf = model.get_submodule("conv1")(image[None]).relu().detach().requires_grad_()
        (slope,) = torch.autograd.grad(model.get_submodule("conv2")(leaf)[0, 3].mean(), leaf)
        expected = LOOPS[name](leaf[0].detach().double(), slope[0].double()).float()
        torch.testing.assert_close(values, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))
