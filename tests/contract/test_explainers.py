"""What every explainer must do, on any network and from Python alone."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch
from support.concept_folders import small_concepts
from torch import Tensor, nn

import fervis
from fervis.core.registry import build_plugin, names, option_settings, plugin_class
from fervis.core.results import HeatMaps, entry_fields
from fervis.errors import ConfigError


def class_of(name: str) -> Any:
    return plugin_class("explainer", option_settings("explainer", name).name)


EXPLAINERS = names("explainer")
HEAT_MAPS = [name for name in EXPLAINERS if class_of(name).result is HeatMaps]
NEEDS_TRAINING = {"training"}  # reads the epochs of a training, which a lone network does not have
OTHER_KINDS = [name for name in EXPLAINERS if name not in {*HEAT_MAPS, *NEEDS_TRAINING}]
LAYER_SETTINGS = (None, "conv5", "input")
# At the package's own defaults quickshift finds a single superpixel in faces as small as these.
SMALL_TRANSFORMER: dict[str, Any] = {
    "name": "timm",
    "architecture": "vit_tiny_patch16_224",
    "arguments": {"patch_size": 4, "embed_dim": 24, "depth": 3, "num_heads": 3},
}
KNOBS: dict[str, dict[str, Any]] = {
    "class_image": {"steps": 4},
    "confusion": {"resamples": 20},
    "filters": {"steps": 4, "filters": [0, 2]},
    "integrated_gradients": {"steps": 6},
    "lime": {"samples": 200, "repeats": 1},
    "lime_reference": {"kernel_size": 1, "max_dist": 3, "num_samples": 50},
    "nearest": {"k": 3},
    "occlusion": {"window": 5, "stride": 3},
    "smoothgrad": {"samples": 6},
    "tcav": {"concepts": small_concepts(), "partitions": 3},
}
# Methods that refuse the small convolutional network of these tests -> settings of one that they explain.
NETWORKS: dict[str, dict[str, Any]] = dict.fromkeys(("attention_gradient", "attention_rollout"), SMALL_TRANSFORMER)
WHATEVER_THE_TARGET = {"attention_rollout"}  # methods whose map does not depend on the target, by their definition
# How far an in-place activation may move a map, as part of its largest value. Most methods compute the same numbers in
# the same order; what fits a linear model to outputs passes on their last digit.
IN_PLACE_TOLERANCE = {"lime": 1e-5, "lime_reference": 1e-5}


@pytest.fixture(params=HEAT_MAPS)
def explainer(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=OTHER_KINDS)
def other_kind(request: pytest.FixtureRequest) -> str:
    return request.param


def network(channels: int = 1, explainer: str = "") -> nn.Module:
    settings = NETWORKS.get(explainer, {"name": "vgg8", "width": 4})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_plugin("model", settings).build(channels=channels, size=16, classes=("a", "b", "c"))


def images(count: int = 3, channels: int = 1) -> Tensor:
    return torch.rand(count, channels, 16, 16, generator=torch.Generator().manual_seed(4))


def explain(model: nn.Module, faces: Tensor, explainer: str, *arguments: Any, **more: Any) -> Any:
    return fervis.explain(model, faces, explainer, *arguments, **KNOBS.get(explainer, {}), **more)


def explain_network(name: str, model: nn.Module, faces: Tensor, seed: int = 0) -> Any:
    layer = "conv5" if "layers" in class_of(name).takes else None
    return explain(model, faces, name, layer, torch.arange(len(faces)) % 3, seed=seed)


def takes(explainer: str, layer: str | None) -> bool:
    return layer is None or ("pixels" if layer == "input" else "layers") in class_of(explainer).takes


def flags_and_hooks(model: nn.Module) -> list[tuple[bool, int, int, int]]:
    return [
        (module.training, len(module._forward_hooks), len(module._forward_pre_hooks), len(module._backward_hooks))
        for module in model.modules()
    ]


@pytest.mark.parametrize("name", EXPLAINERS)
def test_it_declares_its_scope_its_result_and_what_it_takes(name: str):
    cls = class_of(name)
    assert cls.scope in {"image", "network"}
    assert cls.result.kind
    assert cls.takes <= {"layers", "pixels", "classes", "filters"}
    assert cls.default_layer in {"input", "last_conv", "all"}
    assert cls.scope == "image" or cls.result is not HeatMaps, "maps are of images"
    if "layers" not in cls.takes:
        assert cls.default_layer == "input", "a method without layers of its own must not cost a look for them"


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("layer", LAYER_SETTINGS)
def test_maps_have_the_images_size_and_are_finite(explainer: str, channels: int, layer: str | None):
    model, faces = network(channels, explainer), images(channels=channels)
    if not takes(explainer, layer):
        with pytest.raises(ConfigError, match=f"layer={layer}: "):
            explain(model, faces, explainer, layer, [0, 1, 2])
        return
    result = explain(model, faces, explainer, layer, "all")
    assert result.maps.shape == (9, 16, 16)
    assert result.maps.dtype == torch.float32
    assert result.maps.isfinite().all()
    assert not result.maps.requires_grad
    assert result.signed or (result.maps >= 0).all()
    assert result.unit
    # A rectified map may be 0 everywhere, where nothing counts for the target; others are not constant, and of all
    # images and classes something must be seen.
    flat = result.maps.amax((1, 2)) == result.maps.amin((1, 2))
    assert not (flat & (result.maps.amax((1, 2)) != 0)).any()
    assert not flat.all()
    assert not (result.signed and flat.any())


def test_the_same_question_gives_the_same_bytes(explainer: str):
    model, faces = network(explainer=explainer), images()
    one, two = (explain(model, faces, explainer, target=[0, 1, 2], seed=5).maps for _ in range(2))
    assert torch.equal(one, two)


def test_a_face_is_explained_alike_in_any_batch(explainer: str):
    model, faces = network(explainer=explainer), images(5)
    whole = explain(model, faces, explainer, target=0).maps
    parts = explain(model, faces, explainer, target=0, batch_size=2).maps
    torch.testing.assert_close(whole, parts, rtol=1e-5, atol=1e-7)


def test_all_classes_at_once_are_each_class_alone(explainer: str):
    model, faces = network(explainer=explainer), images(2)
    together = explain(model, faces, explainer, target="all").maps.unflatten(0, (2, 3))
    for target in range(3):
        alone = explain(model, faces, explainer, target=target).maps
        torch.testing.assert_close(together[:, target], alone, rtol=1e-5, atol=1e-6 * float(alone.abs().max()))


def test_another_class_gives_another_map(explainer: str):
    if explainer in WHATEVER_THE_TARGET:
        pytest.skip("knows no target")
    model, faces = network(explainer=explainer), images()
    one, two = (explain(model, faces, explainer, target=target).maps for target in (0, 1))
    assert not torch.allclose(one, two)


def test_several_layers_at_once_are_each_layer_alone(explainer: str):
    if "layers" not in class_of(explainer).takes:
        pytest.skip("works at no layer")
    model, faces = network(explainer=explainer), images(2)
    together = explain(model, faces, explainer, ["conv3", "conv6"], [1, 0]).maps.unflatten(0, (2, 2))
    for maps, layer in zip(together, ("conv3", "conv6"), strict=True):
        alone = explain(model, faces, explainer, layer, [1, 0]).maps
        torch.testing.assert_close(maps, alone, rtol=1e-5, atol=1e-6 * float(alone.abs().max()))


def test_a_filter_is_explained_or_refused(explainer: str):
    if "filters" not in class_of(explainer).takes:
        with pytest.raises(ConfigError, match="target=conv7/1: "):
            explain(network(explainer=explainer), images(), explainer, target="conv7/1")
        return
    layer = "conv5" if "layers" in class_of(explainer).takes else None
    one, two = (
        explain(network(explainer=explainer), images(), explainer, layer, f"conv7/{number}").maps for number in (1, 2)
    )
    assert one.shape == (3, 16, 16)
    assert one.isfinite().all()
    assert not torch.allclose(one, two)


@pytest.mark.parametrize("fails", [False, True])
def test_the_network_and_the_images_are_left_as_they_were(explainer: str, fails: bool):
    model, faces = network(explainer=explainer).train(), images()
    parts = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    parts[1].eval()
    parts[2].weight.requires_grad_(False)
    weights = [parameter.clone() for parameter in model.state_dict().values()]
    before, state = flags_and_hooks(model), torch.random.get_rng_state()
    flags = [parameter.requires_grad for parameter in model.parameters()]
    copy = faces.clone()

    def explode(*_: object) -> None:
        raise RuntimeError("midway")

    handle = parts[-1].register_forward_hook(explode) if fails else None
    with pytest.raises(RuntimeError, match="midway") if fails else nullcontext():
        explain(model, faces, explainer, target=0)
    if handle:
        handle.remove()
    assert before == flags_and_hooks(model)
    assert not any("forward" in vars(module) for module in model.modules())
    assert [parameter.requires_grad for parameter in model.parameters()] == flags
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(one, two) for one, two in zip(weights, model.state_dict().values(), strict=True))
    assert torch.equal(faces, copy)
    assert torch.equal(state, torch.random.get_rng_state())


def test_an_in_place_activation_changes_nothing(explainer: str, in_place: Callable[[bool], nn.Module]):
    if explainer in NETWORKS:
        pytest.skip("has an own network")
    faces = torch.randn(2, 1, 12, 12, generator=torch.Generator().manual_seed(6))
    plain, changed = (explain(in_place(flag), faces, explainer, target=[0, 1]).maps for flag in (False, True))
    tolerance = IN_PLACE_TOLERANCE.get(explainer, 0) * float(plain.abs().max())
    torch.testing.assert_close(changed, plain, rtol=0, atol=tolerance)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_result_of_another_kind_is_entry_by_entry_and_plain(other_kind: str, channels: int):
    result = explain_network(other_kind, network(channels), images(6, channels))
    assert isinstance(result, class_of(other_kind).result)
    values = [getattr(result, name) for name in entry_fields(result)]
    sizes = {len(value) for value in values if isinstance(value, Tensor | tuple)}
    assert len(sizes) == 1, "every tensor and every tuple that is not shared has one item per entry"
    (count,) = sizes
    assert count >= 1
    assert any(isinstance(getattr(result, f.name), Tensor | tuple) for f in fields(result))
    for name, array in result.arrays().items():
        assert isinstance(array, np.ndarray), name
        assert array.dtype != object, name
    for entry in range(count):
        assert isinstance(result.summary_row(entry), dict)


def test_a_result_of_another_kind_has_the_same_bytes_again(other_kind: str):
    one, two = (explain_network(other_kind, network(), images(6), seed=5).arrays() for _ in range(2))
    assert one.keys() == two.keys()
    for name in one:
        assert one[name].tobytes() == two[name].tobytes(), name


def test_an_explainer_of_another_kind_leaves_the_network_and_the_images_as_they_were(other_kind: str):
    model, faces = network().train(), images(6)
    model.get_submodule("body.conv2").eval()
    weights = [parameter.clone() for parameter in model.state_dict().values()]
    before, state = flags_and_hooks(model), torch.random.get_rng_state()
    copy = faces.clone()
    explain_network(other_kind, model, faces)
    assert before == flags_and_hooks(model)
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(one, two) for one, two in zip(weights, model.state_dict().values(), strict=True))
    assert torch.equal(faces, copy)
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize("name", [name for name in OTHER_KINDS if "layers" not in class_of(name).takes])
def test_a_layer_that_would_change_nothing_is_refused(name: str):
    with pytest.raises(ConfigError, match="layer=conv5: "):
        explain(network(), images(6), name, "conv5", torch.arange(6) % 3)


@pytest.mark.parametrize("name", sorted(NEEDS_TRAINING))
def test_what_needs_a_training_says_so(name: str):
    with pytest.raises(ConfigError, match="epoch"):
        explain_network(name, network(), images(6))
