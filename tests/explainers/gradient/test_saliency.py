"""Saliency against closed forms and against torch.autograd on the same network."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import fervis
from fervis.core.registry import build_plugin
from fervis.errors import ConfigError


def test_a_linear_network_gives_its_weights():
    weights = torch.randn(3, 2, 6, 5, generator=torch.Generator().manual_seed(0))
    model = nn.Sequential(nn.Flatten(), nn.Linear(60, 3, bias=False))
    model[1].weight.data = weights.flatten(1)
    maps = fervis.explain(model, torch.rand(4, 2, 6, 5), "saliency", "input", torch.tensor([0, 2, 1, 2])).maps
    torch.testing.assert_close(maps, weights[[0, 2, 1, 2]].abs().amax(1))


def test_at_a_layer_it_is_the_largest_absolute_gradient_brought_to_the_faces_size():
    network = build_plugin("model", "vgg8").build(channels=1, size=48, classes=tuple("abcdefg"))
    network.eval()
    images = torch.rand(3, 1, 48, 48, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([6, 0, 3])

    kept: list[torch.Tensor] = []
    handle = network.body.conv7.register_forward_hook(lambda _m, _i, output: kept.append(output))
    pixels = images.clone().requires_grad_()
    score = network(pixels).gather(1, labels[:, None]).sum()
    handle.remove()
    at_layer, at_pixels = torch.autograd.grad(score, [kept[0], pixels])

    result = fervis.explain(network, images, "saliency", "conv7", labels)
    expected = F.interpolate(at_layer.abs().amax(1, keepdim=True), (48, 48), mode="bilinear")[:, 0]
    torch.testing.assert_close(result.maps, expected, rtol=0, atol=1e-6)
    assert result.pixel_maps is not None
    torch.testing.assert_close(result.pixel_maps, at_pixels.abs().amax(1), rtol=0, atol=1e-6)
    torch.testing.assert_close(fervis.explain(network, images, layer="input", target=labels).maps, result.pixel_maps)
    assert result.maps.max() > 0


def test_targets_by_number_name_prediction_and_filter(residual: nn.Module):
    images = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    predicted = residual(images).argmax(1)
    for spec in ("predicted", predicted, predicted.tolist()):
        assert torch.equal(
            fervis.explain(residual, images, target=spec).maps, fervis.explain(residual, images, target=predicted).maps
        )
    assert torch.equal(
        fervis.explain(residual, images, target=1).maps, fervis.explain(residual, images, target=[1, 1, 1, 1]).maps
    )
    pixels = images.clone().requires_grad_()
    (expected,) = torch.autograd.grad(residual.conv1(pixels)[:, 2].mean((1, 2)).sum(), pixels)
    torch.testing.assert_close(fervis.explain(residual, images, target="conv1/2").maps, expected.abs()[:, 0])


def test_the_batch_does_not_matter(residual: nn.Module):
    images = torch.randn(7, 1, 8, 8, generator=torch.Generator().manual_seed(3))
    target = torch.tensor([0, 1, 2, 0, 1, 2, 0])
    whole = fervis.explain(residual, images, layer="conv1", target=target)
    parts = fervis.explain(residual, images, layer="conv1", target=target, batch_size=2)
    torch.testing.assert_close(whole.maps, parts.maps, rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"explainer": "salency"}, "explainer=salency: there is no such explainer. Did you mean saliency?"),
        ({"layer": "cnv1"}, "layer=cnv1: there is no such layer. Did you mean conv1?"),
        ({"target": [0, 1]}, "target: expected one class for each of the 3 images"),
        ({"target": "conv1/9"}, "target=conv1/9: conv1 has 4 filters"),
        ({"target": "conv1/x"}, "target=conv1/x: expected <layer>/<filter>"),
        ({"samples": 3}, "explainer.samples: there is no such setting"),
        ({"images": torch.zeros(3, 8, 8)}, "images: expected a float tensor [N,C,H,W]"),
        ({"images": torch.zeros(3, 1, 8, 8, dtype=torch.uint8)}, "not uint8 [3, 1, 8, 8]"),
        ({"target": [0, 1, 3]}, "target=3: the network has 3 classes"),
        ({"target": [0, 1, -1]}, "target=-1: the network has 3 classes"),
    ],
)
def test_wrong_questions(residual: nn.Module, change: dict[str, object], sentence: str):
    with pytest.raises(ConfigError) as error:
        fervis.explain(residual, **{"images": torch.zeros(3, 1, 8, 8), "target": 0, **change})  # pyright: ignore
    assert sentence in str(error.value)
