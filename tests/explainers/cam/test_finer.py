"""Finer-CAM against autograd on the contrast, written out class by class.

The contrast is that of the paper (arXiv:2501.11309), the mean over the other classes of y - γ y_d. Compared once by
hand, every map brought to [0, 1]: torch-cam 0.5.0 agrees to 3e-7. pytorch-grad-cam 1.5.7 differs by 0.05 to 0.28: it
weights the other classes by their probabilities, and lets the gradient pass through these weights too.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from support.convolutions import PooledNet, SmallNet, activations_and_gradients, noise, one_hot, seeded
from torch import Tensor, nn

import fervis
from fervis.core.layers import resolve_layers
from fervis.core.registry import build_plugin
from fervis.core.targets import class_targets
from fervis.errors import ConfigError
from fervis.explainers.cam.weighting import MAPS_OF_PASS
from fervis.models.batch import Batch
from fervis.models.shared_passes import SharedPasses


def expected_map(
    model: nn.Module, image: Tensor, target: int, others: list[int], strength: float, method: str
) -> Tensor:
    weights = one_hot(target, 4) - strength * sum(one_hot(other, 4) for other in others) / len(others)
    ((activations, gradients),) = activations_and_gradients(model, image[None], "relu1", weights)
    return MAPS_OF_PASS[method](activations[None], gradients[None])[0]


def nearest(model: nn.Module, image: Tensor, target: int, count: int) -> list[int]:
    logits = model(image[None])[0].tolist()
    others = [number for number in range(4) if number != target]
    return sorted(others, key=lambda number: abs(logits[number] - logits[target]))[:count]


@pytest.mark.parametrize("method", sorted(MAPS_OF_PASS))
@pytest.mark.parametrize("similar", [1, 2, 9])
def test_maps_of_all_classes_contrast_each_with_its_most_similar(similar: int, method: str):
    model, images = seeded(SmallNet), noise(3, 1, 10, 10)
    found = fervis.explain(
        model, images, "finer", ["relu1", "conv2"], "all", similar=similar, strength=0.5, method=method, rectify=False
    ).maps[:12]
    for number, image in enumerate(images):
        for target in range(4):
            others = nearest(model, image, target, similar)
            expected = expected_map(model, image, target, others, 0.5, method).float()
            scale = float(expected.abs().max())
            torch.testing.assert_close(found[4 * number + target], expected, rtol=0, atol=1e-5 * scale)


@pytest.mark.parametrize(("against", "others"), [(3, [3]), ("3", [3]), ([2, 3], [2, 3]), (["2", 0], [2, 0])])
def test_given_classes_are_contrasted_with(against: Any, others: list[int]):
    model, images = seeded(SmallNet), noise(2, 1, 10, 10)
    result = fervis.explain(model, images, "finer", "relu1", 1, against=against)
    expected = torch.stack([expected_map(model, image, 1, others, 0.6, "gradcam") for image in images]).clamp(min=0)
    torch.testing.assert_close(result.maps.double(), expected, rtol=0, atol=1e-6)
    logits = model(images)
    contrasts = (logits[:, 1] - 0.6 * logits[:, others].mean(1)).detach()
    torch.testing.assert_close(result.scores["contrast"], contrasts)


def test_a_target_is_not_contrasted_with_itself():
    model, images = seeded(SmallNet), noise(1, 1, 10, 10)
    one, two = (fervis.explain(model, images, "finer", "relu1", 1, against=against).maps for against in ([1, 3], 3))
    assert torch.equal(one, two)
    with pytest.raises(ConfigError, match=r"^against=1: this class is itself explained"):
        fervis.explain(model, images, "finer", "relu1", "all", against=1)


def test_without_strength_it_is_the_cam_of_the_class():
    model, images = seeded(SmallNet), noise(2, 1, 10, 10)
    found = fervis.explain(model, images, "finer", "relu2", "all", strength=0.0).maps
    torch.testing.assert_close(found, fervis.explain(model, images, "gradcam", "relu2", "all").maps)


def test_what_speaks_for_both_classes_alike_cancels():
    """Under a mean and a linear head a channel of equal weights for both classes has no part in their contrast."""
    model, images = seeded(PooledNet), noise(2, 1, 12, 12)
    with torch.no_grad():
        model.get_submodule("conv2").weight.abs_()
        model.get_submodule("head").weight[0] = model.get_submodule("head").weight[1]
        model.get_submodule("head").weight[0, 2] += 1.0
    found = fervis.explain(model, images, "finer", "conv2", 0, against=1, strength=1.0, rectify=False).maps
    with torch.no_grad():
        model.get_submodule("conv2").weight[[0, 1, 3, 4, 5]] += 1.0
    assert torch.equal(
        found, fervis.explain(model, images, "finer", "conv2", 0, against=1, strength=1.0, rectify=False).maps
    )
    assert found.abs().max() > 0


def test_refusals():
    images = noise(1, 1, 10, 10)
    with pytest.raises(ConfigError, match=r"^against=7: the network has no such class. Known: 0, 1, 2, 3"):
        fervis.explain(seeded(SmallNet), images, "finer", "relu1", 0, against=7)
    single = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(128, 1))
    with pytest.raises(ConfigError, match="the network has one class"):
        fervis.explain(single, images, "finer", "0", 0)


def test_passes_shared_with_other_explainers_are_not_taken_for_those_of_the_contrast():
    model, images = seeded(SmallNet), noise(2, 1, 10, 10)
    layers = resolve_layers(model, "relu1", images[:1])
    batch = Batch(model, images, layers, class_targets(torch.arange(4).expand(2, -1)), classes=tuple("abcd"))
    shared = replace(batch, shared=SharedPasses(layers))
    build_plugin("explainer", "gradcam").explain(shared)
    found, alone = (build_plugin("explainer", "finer").explain(one).maps["relu1"] for one in (shared, batch))
    assert torch.equal(found, alone)
