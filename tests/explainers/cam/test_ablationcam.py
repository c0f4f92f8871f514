"""Ablation-CAM against full passes in which a hook sets one channel of one image to 0.

Compared once by hand with pytorch-grad-cam 1.5.7 at a rectified layer: maps of a class of positive logit, brought to
[0, 1], agree to 2e-7. Those of a class of negative logit have the opposite sign: (y - y_k) / y of the paper turns a
fall of a negative logit into a rise. And where a layer is not rectified, pytorch-grad-cam does not set a channel to 0,
as the paper does, but to 1e7 below the layer's lowest value.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.convolutions import PooledNet, SmallNet, activations_at, noise, seeded
from torch import Tensor, nn

from fervis.core.layers import resolve_layers
from fervis.core.registry import build_plugin
from fervis.core.targets import class_targets
from fervis.explainers.cam import ablationcam
from fervis.models.batch import Batch


def by_full_passes(model: nn.Module, image: Tensor, layer: str, target: int) -> Tensor:
    """Return the map [h,w] of one [C,H,W] image, before the rectifier."""

    def ablate(channel: int, output: Tensor) -> Tensor:
        changed = output.clone()
        changed[:, channel] = 0
        return changed

    with torch.no_grad():
        output, logits = activations_at(model, image[None], layer)
        values, whole = torch.zeros_like(output[0, 0]), float(logits[0, target])
        for number, channel in enumerate(output[0]):
            handle = model.get_submodule(layer).register_forward_hook(
                lambda _m, _i, o, number=number: ablate(number, o)
            )
            without = float(model(image[None])[0, target])
            handle.remove()
            values += (whole - without) / abs(whole) * channel
        return values


def own_maps(model: nn.Module, images: Tensor, layer: str, classes: int, **knobs: Any) -> Tensor:
    layers = resolve_layers(model, layer, images[:1])
    targets = class_targets(torch.arange(classes).expand(len(images), -1))
    return build_plugin("explainer", "ablationcam", **knobs).explain(Batch(model, images, layers, targets)).maps[layer]


@pytest.mark.parametrize("at_once", [1, 1_000_000])
@pytest.mark.parametrize("layer", ["conv1", "relu2"])
def test_maps_of_all_classes_are_those_of_full_passes(layer: str, at_once: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ablationcam, "VALUES_AT_ONCE", at_once)
    model, images = seeded(SmallNet).double(), noise(3, 1, 10, 10).double()
    found = own_maps(model, images, layer, 4, rectify=False)
    signs = set()
    for number, image in enumerate(images):
        for target in range(4):
            expected = by_full_passes(model, image, layer, target)
            atol = 1e-6 * float(expected.abs().max())
            torch.testing.assert_close(found[number, target].double(), expected, rtol=0, atol=atol)
            signs.add(bool(model(image[None])[0, target] > 0))
    assert signs == {True, False}, "logits of both signs are tested"
    torch.testing.assert_close(own_maps(model, images, layer, 4), found.relu())


def test_under_a_mean_and_a_linear_head_weights_are_those_of_the_head_times_the_mean():
    """Without channel k the logit falls by w_k mean(A_k)."""
    model, images = seeded(PooledNet), noise(2, 1, 12, 12)
    outputs, logits = activations_at(model, images, "relu2")
    weights = model.get_submodule("head").weight * outputs.mean((2, 3))[:, None] / logits.abs()[:, :, None]
    expected = torch.einsum("nkc,nchw->nkhw", weights, outputs).detach()
    found = own_maps(model, images, "relu2", 3, rectify=False)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))
