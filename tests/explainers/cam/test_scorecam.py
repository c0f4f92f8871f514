"""Score-CAM against a loop over algorithm 1 of arXiv:1910.01279, one channel and image at a time.

Compared once by hand with pytorch-grad-cam 1.5.7 and torch-cam 0.5.0: maps of a layer of the images' size, brought to
[0, 1], agree to 3e-7. At a smaller layer, where channels are resized to be masks, they differ by 3e-4 to 9e-4:
pytorch-grad-cam resizes with the corners aligned (so its masks do not lie where its maps are drawn), torch-cam scales
before it resizes. The paper resizes and then scales, and says nothing of corners; fervis resizes masks as it does maps.
Both of them give a channel of one value a black image and a share of the softmax; the paper's scale has no value there,
and its authors' code leaves such channels out, as fervis does.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.convolutions import SmallNet, activations_at, noise, seeded
from torch import Tensor, nn
from torch.nn import functional as F

import fervis
from fervis.core.layers import resolve_layers
from fervis.core.registry import build_plugin
from fervis.core.targets import class_targets
from fervis.errors import ConfigError
from fervis.models.batch import Batch


def by_algorithm_1(model: nn.Module, image: Tensor, layer: str, target: int, output: str) -> Tensor:
    """Return the map [h,w] of one [C,H,W] image, before the rectifier."""
    with torch.no_grad():
        activations = activations_at(model, image[None], layer)[0][0]
        scores: dict[int, Tensor] = {}
        base = model(image[None])[0]
        for number, channel in enumerate(activations):
            if channel.max() == channel.min():
                continue
            resized = F.interpolate(channel[None, None], image.shape[1:], mode="bilinear", align_corners=False)[0]
            mask = (resized - resized.min()) / (resized.max() - resized.min())
            logits = model((image * mask)[None])[0]
            read = (logits, base) if output == "logit" else (logits.softmax(0), base.softmax(0))
            scores[number] = read[0][target] - read[1][target]
        total = sum(score.exp() for score in scores.values())
        values = torch.zeros_like(activations[0])
        for number, score in scores.items():
            values += score.exp() / total * activations[number]
        return values


def own_maps(model: nn.Module, images: Tensor, layer: str, **knobs: Any) -> Tensor:
    layers = resolve_layers(model, layer, images[:1])
    targets = class_targets(torch.arange(4).expand(len(images), -1))
    return build_plugin("explainer", "scorecam", **knobs).explain(Batch(model, images, layers, targets)).maps[layer]


@pytest.mark.parametrize("output", ["logit", "probability"])
@pytest.mark.parametrize("layer", ["conv1", "relu2"])
def test_maps_of_all_classes_are_those_of_a_loop_over_the_algorithm(layer: str, output: str):
    model, images = seeded(SmallNet), noise(3, 1, 10, 10)
    found = own_maps(model, images, layer, output=output, rectify=False)
    for number, image in enumerate(images):
        for target in range(4):
            expected = by_algorithm_1(model, image, layer, target, output)
            torch.testing.assert_close(found[number, target], expected, rtol=0, atol=1e-5 * float(expected.abs().max()))
    torch.testing.assert_close(own_maps(model, images, layer, output=output), found.relu())


def test_a_channel_of_one_value_takes_no_part():
    model, images = seeded(SmallNet), noise(2, 1, 10, 10)
    with torch.no_grad():
        model.get_submodule("conv2").weight[3:] = 0.0
        model.get_submodule("conv2").bias[3:] = torch.tensor([2.0, -1.0, 0.0])
    found = own_maps(model, images, "conv2", rectify=False)
    for number, image in enumerate(images):
        expected = by_algorithm_1(model, image, "conv2", 1, "logit")
        torch.testing.assert_close(found[number, 1], expected, rtol=0, atol=1e-5)


def test_a_layer_of_constant_channels_gives_nothing():
    model, images = seeded(SmallNet), noise(2, 1, 10, 10)
    with torch.no_grad():
        model.get_submodule("conv1").weight.zero_()
    assert torch.equal(own_maps(model, images, "conv1"), torch.zeros(2, 4, 10, 10))


def test_passes_in_bf16_are_near_those_in_fp32():
    model, images = seeded(SmallNet), noise(2, 1, 10, 10)
    whole, low = (own_maps(model, images, "relu1", precision=precision) for precision in ("fp32", "bf16"))
    difference = float((whole - low).abs().max() / whole.max())
    assert 0 < difference < 0.01


def test_a_filter_is_refused():
    with pytest.raises(ConfigError, match="target=conv2/1: explainer=scorecam explains no filters"):
        fervis.explain(seeded(SmallNet), noise(1, 1, 10, 10), "scorecam", "relu1", "conv2/1")
