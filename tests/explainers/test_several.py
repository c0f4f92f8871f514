"""Several methods at once: the results of each alone, from shared passes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import fervis
from fervis.core.layers import resolve_layers
from fervis.core.targets import class_targets
from fervis.models.batch import Batch
from fervis.models.shared_passes import SharedPasses

METHODS = ["gradcam", "saliency", "input_x_gradient"]
LAYERS = ["conv1", "conv2"]


def passes(model: nn.Module) -> list[int]:
    """Return a list to which each forward pass of the network appends its number of images."""
    counted: list[int] = []
    model.register_forward_hook(lambda _module, inputs, _output: counted.append(len(inputs[0])))
    return counted


def images(count: int = 5) -> Tensor:
    return torch.rand(count, 1, 12, 12, generator=torch.Generator().manual_seed(2))


def test_the_results_are_those_of_each_method_alone(residual: nn.Module):
    together = fervis.explain(residual, images(), METHODS, layer=LAYERS, target="all", batch_size=2)
    for name in METHODS:
        alone = fervis.explain(residual, images(), name, layer=LAYERS, target="all", batch_size=2)
        assert torch.equal(together[name].maps, alone.maps), name
        if alone.pixel_maps is not None:
            assert torch.equal(together[name].pixel_maps, alone.pixel_maps), name


def test_one_forward_pass_serves_all_methods_and_layers(residual: nn.Module):
    layers = resolve_layers(residual, [*LAYERS, "input"], images())
    targets = class_targets(torch.arange(3).expand(5, -1))
    batch = Batch(residual, images(), layers[:1], targets, shared=SharedPasses(layers))
    counted = passes(residual)
    first = list(batch.gradients())
    others = list(batch.gradients(layers=layers))
    assert counted == [5]
    assert [*first[0].gradients] == ["conv1"]
    assert [*others[0].gradients] == [layer.name for layer in layers]
    assert len(first) == len(others) == 3
    for one, other in zip(first, others, strict=True):
        assert torch.equal(one.gradients["conv1"], other.gradients["conv1"])


def test_other_images_and_other_targets_share_nothing(residual: nn.Module):
    layers = resolve_layers(residual, LAYERS, images())
    batch = Batch(residual, images(), layers, class_targets([0, 1, 2, 0, 1]), shared=SharedPasses())
    counted = passes(residual)
    list(batch.gradients())
    list(batch.with_images(images() / 2).gradients())
    list(Batch(residual, images(), layers, class_targets([1] * 5), shared=batch.shared).gradients())
    list(batch.part(slice(0, 2)).gradients())
    list(batch.part(slice(0, 2)).gradients())
    assert counted == [5, 5, 5, 2]


def test_a_batch_beyond_the_limit_is_computed_anew(residual: nn.Module):
    layers = resolve_layers(residual, LAYERS, images())
    batch = Batch(residual, images(), layers, class_targets([0] * 5), shared=SharedPasses(limit=1000))
    counted = passes(residual)
    assert torch.equal(next(batch.gradients()).gradients["conv1"], next(batch.gradients()).gradients["conv1"])
    assert counted == [5, 5]


def test_a_layer_that_others_need_and_that_has_no_gradient_stops_none(residual: nn.Module):
    class Detached(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.conv2, self.head = nn.Conv2d(1, 2, 3), nn.Conv2d(1, 2, 3), nn.Linear(2, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head((self.conv1(x) + self.conv2(x).detach()).mean((2, 3)))

    model = Detached()
    layers = resolve_layers(model, LAYERS, images())
    batch = Batch(model, images(), layers[:1], class_targets([0] * 5), shared=SharedPasses(layers))
    assert [*next(batch.gradients()).gradients] == ["conv1"]


def test_settings_go_with_the_name():
    model = fervis.load_model("vgg8", weights="fer2013")
    faces = torch.rand(1, 1, 48, 48)
    results = fervis.explain(model, faces, {"smoothgrad": {"samples": 3}, "gradcam": {}}, layer="conv7")
    alone = fervis.explain(model, faces, "smoothgrad", "conv7", samples=3)
    assert torch.equal(results["smoothgrad"].maps, alone.maps)
    with pytest.raises(fervis.ConfigError, match="samples=3: settings of several explainers"):
        fervis.explain(model, faces, ["smoothgrad", "gradcam"], layer="conv7", samples=3)
    with pytest.raises(fervis.ConfigError, match="expected methods that give heat maps"):
        fervis.explain(model, faces, ["gradcam", "confusion"])


def test_methods_of_pixels_take_no_layer():
    model = fervis.load_model("vgg8", weights="fer2013")
    results = fervis.explain(model, torch.rand(1, 1, 48, 48), ["occlusion", "gradcam"], layer="conv7")
    assert {name: result.maps.shape for name, result in results.items()} == dict.fromkeys(results, (1, 48, 48))
