"""What every method that examines a network must do, on any network and from Python alone."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import fervis
from fervis.core.protocols import NetworkExplainer
from fervis.core.registry import build_plugin, names, option_settings, plugin_class
from fervis.errors import ConfigError

EXAMINERS = [
    n for n in names("explainer") if hasattr(plugin_class("explainer", option_settings("explainer", n).name), "examine")
]
OF_A_TRAINING = {"training"}  # they look at the epochs of a training, which a lone network does not have
FAST = {"filters": {"steps": 4, "filters": [0, 2]}, "class_image": {"steps": 4}, "confusion": {"resamples": 20}}


@pytest.fixture(params=[name for name in EXAMINERS if name not in OF_A_TRAINING])
def examiner(request: pytest.FixtureRequest) -> str:
    return request.param


def network(channels: int = 1) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_plugin("model", "vgg8", width=4).build(channels=channels, size=16, classes=("a", "b", "c"))


def images(count: int = 6, channels: int = 1) -> Tensor:
    return torch.rand(count, channels, 16, 16, generator=torch.Generator().manual_seed(4))


def examine(name: str, model: nn.Module, faces: Tensor, seed: int = 0):
    layer = "conv5" if getattr(build_plugin("explainer", name), "uses_layers", False) else None
    labels = torch.arange(len(faces)) % 3
    return fervis.explain(model, faces, name, layer, labels, seed=seed, **FAST.get(name, {}))


@pytest.mark.parametrize("channels", [1, 3])
def test_its_result_is_entry_by_entry_and_plain(examiner: str, channels: int):
    result = examine(examiner, network(channels), images(channels=channels))
    kind = plugin_class("explainer", option_settings("explainer", examiner).name).kind
    assert result.kind == kind
    sizes = {len(value) for f in fields(result) if isinstance(value := getattr(result, f.name), Tensor | tuple)}
    assert len(sizes) == 1, "every tensor and every tuple has one item an entry"
    (count,) = sizes
    assert count >= 1
    for name, values in result.arrays().items():
        assert isinstance(values, np.ndarray), name
        assert values.dtype != object, name
    for entry in range(count):
        assert isinstance(result.summary_row(entry), dict)


def test_the_same_question_gives_the_same_bytes(examiner: str):
    one, two = (examine(examiner, network(), images(), seed=5).arrays() for _ in range(2))
    assert one.keys() == two.keys()
    for name in one:
        assert one[name].tobytes() == two[name].tobytes(), name


def test_the_network_and_the_images_are_left_as_they_were(examiner: str):
    model, faces = network().train(), images()
    model.get_submodule("body.conv2").eval()
    weights = [parameter.clone() for parameter in model.state_dict().values()]
    before = [(module.training, len(module._forward_hooks), len(module._backward_hooks)) for module in model.modules()]
    kept = faces.clone()
    state = torch.random.get_rng_state()
    examine(examiner, model, faces)
    after = [(module.training, len(module._forward_hooks), len(module._backward_hooks)) for module in model.modules()]
    assert before == after
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(one, two) for one, two in zip(weights, model.state_dict().values(), strict=True))
    assert torch.equal(faces, kept)
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize("name", EXAMINERS)
def test_it_is_an_examiner_by_contract(name: str):
    assert isinstance(build_plugin("explainer", name), NetworkExplainer)


@pytest.mark.parametrize("name", sorted(OF_A_TRAINING))
def test_what_needs_a_training_says_so(name: str):
    with pytest.raises(ConfigError, match="epoch"):
        examine(name, network(), images())
