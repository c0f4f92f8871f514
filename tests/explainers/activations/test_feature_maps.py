"""Outputs and their numbers against hooks and against the measures one by one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fervis.core.layers import resolve_layers
from fervis.core.registry import build_plugin
from fervis.core.results import ExplainerOutput, FeatureMaps
from fervis.errors import ConfigError, RunError
from fervis.explainers.activations import feature_maps, measures
from fervis.models.batch import Batch


def network(channels: int = 1) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_plugin("model", "vgg8", width=4).build(channels=channels, size=16, classes=("a", "b", "c"))


def batch_of(model: nn.Module, *layers: str, faces: int = 3, channels: int = 1) -> Batch:
    pool = torch.randint(0, 256, (9, channels, 16, 16), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    images = pool[:faces].float() / 255
    return Batch(
        model,
        images,
        resolve_layers(model, layers, images[:1]),
        classes=("a", "b", "c"),
        pool=pool,
        rows=torch.arange(100, 109),
        labels=torch.zeros(9, dtype=torch.int64),
    )


def explain(batch: Batch, **knobs: Any) -> tuple[FeatureMaps, ExplainerOutput]:
    findings = build_plugin("explainer", "feature_maps", **knobs).explain(batch)
    assert isinstance(findings.result, FeatureMaps)
    return findings.result, findings


def outputs_of(model: nn.Module, path: str, images: Tensor) -> Tensor:
    kept: list[Tensor] = []
    handle = model.get_submodule(path).register_forward_hook(lambda _m, _i, output: kept.append(output.detach()))
    model.eval()(images)
    handle.remove()
    return kept[0]


@pytest.mark.parametrize("channels", [1, 3])
def test_entries_stand_layer_by_layer_with_the_hooked_outputs(channels: int):
    model = network(channels)
    batch = batch_of(model, "conv3", "input", "relu1", channels=channels)
    result, findings = explain(batch, filters=[0])
    assert findings.layers == ("conv3",) * 3 + ("input",) * 3 + ("relu1",) * 3
    assert findings.images is not None
    assert findings.images.tolist() == [0, 1, 2] * 3
    assert [tuple(one.shape) for one in result.outputs] == [(1, 8, 8)] * 3 + [(1, 16, 16)] * 6
    torch.testing.assert_close(torch.stack(result.outputs[3:6]), batch.images[:, :1])


def test_outputs_and_numbers_are_those_of_each_face_alone():
    model = network()
    batch = batch_of(model, "conv3", "relu1")
    result, findings = explain(batch, filters=[3, 0], others=9)
    assert findings.targets == ("2 filters",) * 6
    assert result.filters == ((3, 0),) * 6
    pool = batch.pool.float() / 255
    for entry, (path, face) in enumerate((path, face) for path in ("body.conv3", "body.relu1") for face in range(3)):
        maps = outputs_of(model, path, batch.images)[face : face + 1, [3, 0]]
        torch.testing.assert_close(result.outputs[entry], maps[0], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(result.black[entry], (maps[0] <= 0).float().mean((1, 2)))
        strangers = pool[torch.arange(9) != face]  # nine evenly spread ones of nine are all
        expected = {
            "sharpness": measures.sharpness(maps).nanmean(),
            "roughness": measures.roughness(maps).nanmean(),
            "sparsity": measures.sparsity(maps).nanmean(),
            "similarity": measures.pairwise_similarity(maps)[0],
            "face_visible": measures.face_visible(maps, pool[face][None, None]).nanmean(),
            "face_chance": measures.face_visible(maps, strangers[None]).nanmean(),
        }
        assert set(result.numbers) == set(expected)
        for name, value in expected.items():
            assert result.numbers[name][entry].item() == pytest.approx(value.item(), abs=1e-5), name
    assert findings.numbers is not None
    assert findings.numbers["relu1/sharpness"] == pytest.approx(result.numbers["sharpness"][3:].mean().item())
    assert findings.numbers["conv3/black"] == pytest.approx(torch.stack(result.black[:3]).mean().item())


def test_of_the_pixels_the_face_shows_wholly_and_nothing_is_alike():
    model = network()
    result, findings = explain(batch_of(model, "input"))
    assert torch.equal(torch.stack(result.outputs), batch_of(model, "input").images)
    torch.testing.assert_close(result.numbers["face_visible"], torch.ones(3))
    assert findings.numbers is not None
    assert "input/similarity" not in findings.numbers, "NaN is no number"
    assert findings.targets == ("1 filters",) * 3


def test_first_filters_are_as_many_as_there_are():
    model = network()
    for spec, count in ((64, 4), ("first:2", 2), ("all", 4)):
        assert explain(batch_of(model, "conv1"), filters=spec)[0].filters[0] == tuple(range(count))


def test_the_batch_does_not_matter(monkeypatch: pytest.MonkeyPatch):
    model = network()
    batch = batch_of(model, "conv2", "conv5", faces=5)
    whole, _ = explain(batch)
    monkeypatch.setattr(feature_maps, "OUTPUTS_BATCH", 2)
    parts, _ = explain(batch)
    for one, other in zip(whole.outputs, parts.outputs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    for name, values in whole.numbers.items():
        torch.testing.assert_close(values, parts.numbers[name], rtol=1e-4, atol=1e-5, equal_nan=True)


def test_the_network_is_left_as_it_was():
    model = network().train()
    explain(batch_of(model, "conv2"))
    assert all(module.training and not module._forward_hooks for module in model.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


def test_wrong_batchs_and_outputs_that_are_not_finite():
    model = network()
    with pytest.raises(ConfigError, match=r"explainer.filters=4: conv1 has 4 filters"):
        explain(batch_of(model, "conv1"), filters=[4])
    with pytest.raises(ConfigError, match=r"explainer.others=0: expected"):
        build_plugin("explainer", "feature_maps", others=0)
    model.get_submodule("body.conv1").weight.data[0] = torch.inf
    with pytest.raises(RunError, match=r"layer=conv1: outputs of [0-9]+ units are not finite"):
        explain(batch_of(model, "conv1"))
