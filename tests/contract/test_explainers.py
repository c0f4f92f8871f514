"""What every explainer that gives heat maps must do, on any network."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import nn

import fervis
from fervis.core.registry import build_plugin, names, option_settings, plugin_class
from fervis.core.results import HeatMaps
from fervis.errors import ConfigError

HEATMAPS = [
    n for n in names("explainer") if plugin_class("explainer", option_settings("explainer", n).name).kind == "heatmaps"
]
# At the package's own defaults quickshift finds a single superpixel in faces as small as these.
KNOBS: dict[str, dict[str, Any]] = {
    "lime": {"samples": 200, "repeats": 1},
    "lime_reference": {"kernel_size": 1, "max_dist": 3, "num_samples": 50},
}


@pytest.fixture(params=HEATMAPS)
def explainer(request: pytest.FixtureRequest) -> str:
    return request.param


def network(channels: int = 1) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_plugin("model", "vgg8", width=4).build(channels=channels, size=16, classes=("a", "b", "c"))


def explain(model: nn.Module, faces: torch.Tensor, explainer: str, *arguments: Any, **more: Any) -> HeatMaps:
    return fervis.explain(model, faces, explainer, *arguments, **KNOBS.get(explainer, {}), **more)


def images(count: int = 3, channels: int = 1) -> torch.Tensor:
    return torch.rand(count, channels, 16, 16, generator=torch.Generator().manual_seed(4))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("layer", [None, "conv5"])
def test_maps_have_the_images_size_and_are_finite_and_not_all_equal(explainer: str, channels: int, layer: str | None):
    cls = plugin_class("explainer", option_settings("explainer", explainer).name)
    if layer and not getattr(cls, "uses_layers", True):
        with pytest.raises(ConfigError, match=f"layer={layer}: "):
            explain(network(channels), images(channels=channels), explainer, layer, [0, 1, 2])
        return
    result = explain(network(channels), images(channels=channels), explainer, layer, [0, 1, 2])
    assert result.maps.shape == (3, 16, 16)
    assert result.maps.dtype == torch.float32
    assert result.maps.isfinite().all()
    assert not result.maps.requires_grad
    assert (result.maps.amax((1, 2)) > result.maps.amin((1, 2))).all()
    assert result.signed or (result.maps >= 0).all()
    assert result.unit


def test_the_same_question_gives_the_same_bytes(explainer: str):
    model, faces = network(), images()
    one, two = (explain(model, faces, explainer, target=[0, 1, 2], seed=5).maps for _ in range(2))
    assert torch.equal(one, two)


def test_a_face_is_explained_alike_in_any_batch(explainer: str):
    model, faces = network(), images(5)
    whole = explain(model, faces, explainer, target=0).maps
    parts = explain(model, faces, explainer, target=0, batch_size=2).maps
    torch.testing.assert_close(whole, parts, rtol=1e-5, atol=1e-7)


def test_another_class_gives_another_map(explainer: str):
    model, faces = network(), images()
    one, two = (explain(model, faces, explainer, target=target).maps for target in (0, 1))
    assert not torch.allclose(one, two)


@pytest.mark.parametrize("fails", [False, True])
def test_the_network_and_the_images_are_left_as_they_were(explainer: str, fails: bool):
    model, faces = network().train(), images()
    model.get_submodule("body.conv2").eval()
    model.get_submodule("body.conv3").weight.requires_grad_(False)  # pyright: ignore[reportAttributeAccessIssue]
    weights = [parameter.clone() for parameter in model.state_dict().values()]
    before = [(module.training, len(module._forward_hooks), len(module._backward_hooks)) for module in model.modules()]
    flags = [parameter.requires_grad for parameter in model.parameters()]
    kept = faces.clone()

    def explode(*_: object) -> None:
        raise RuntimeError("midway")

    handle = model.get_submodule("body.head").register_forward_hook(explode) if fails else None
    with pytest.raises(RuntimeError, match="midway") if fails else nullcontext():
        explain(model, faces, explainer, target=0)
    if handle:
        handle.remove()
    after = [(module.training, len(module._forward_hooks), len(module._backward_hooks)) for module in model.modules()]
    assert before == after
    assert [parameter.requires_grad for parameter in model.parameters()] == flags
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(one, two) for one, two in zip(weights, model.state_dict().values(), strict=True))
    assert torch.equal(faces, kept)


def test_an_in_place_activation_changes_nothing(explainer: str, in_place: Callable[[bool], nn.Module]):
    faces = torch.randn(2, 1, 12, 12, generator=torch.Generator().manual_seed(6))
    maps = [explain(in_place(flag), faces, explainer, target=[0, 1]).maps for flag in (False, True)]
    assert torch.equal(*maps)
