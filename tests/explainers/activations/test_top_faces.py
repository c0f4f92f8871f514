"""The strongest faces against a full sort."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fervis.core.layers import resolve_layers
from fervis.core.registry import build_plugin
from fervis.core.results import ExplainerOutput, TopActivations
from fervis.errors import ConfigError, RunError
from fervis.explainers.activations import ranking, top_faces
from fervis.models.batch import Batch

FACES = 50


def network(channels: int = 1) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_plugin("model", "vgg8", width=4).build(channels=channels, size=16, classes=("a", "b", "c"))


def batch_of(model: nn.Module, *layers: str, channels: int = 1) -> Batch:
    generator = torch.Generator().manual_seed(1)
    pool = torch.randint(0, 256, (FACES, channels, 16, 16), generator=generator, dtype=torch.uint8)
    rows = torch.randperm(FACES, generator=generator) + 1000
    images = pool[:2].float() / 255
    return Batch(
        model,
        images,
        resolve_layers(model, layers, images[:1]),
        classes=("a", "b", "c"),
        pool=pool,
        rows=rows,
        labels=torch.arange(FACES) % 3,
    )


def explain(batch: Batch, **knobs: Any) -> tuple[TopActivations, ExplainerOutput]:
    findings = build_plugin("explainer", "top_faces", **knobs).explain(batch)
    assert isinstance(findings.result, TopActivations)
    return findings.result, findings


def outputs_of(model: nn.Module, path: str, images: Tensor) -> Tensor:
    kept: list[Tensor] = []
    handle = model.get_submodule(path).register_forward_hook(lambda _m, _i, output: kept.append(output.detach()))
    model.eval()(images.float() / 255)
    handle.remove()
    return kept[0]


@pytest.mark.parametrize("batch", [1, 7, 64])
@pytest.mark.parametrize("channels", [1, 3])
def test_it_is_the_full_sort(batch: int, channels: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ranking, "RANKING_BATCH", batch)
    monkeypatch.setattr(top_faces, "TOP_FACES_BATCH", batch)
    model = network(channels)
    batch = batch_of(model, "conv3", "relu1", channels=channels)
    result, findings = explain(batch, filters=[2, 0, 3], top=5)
    assert findings.images is None
    assert findings.targets == ("conv3/2", "conv3/0", "conv3/3", "relu1/2", "relu1/0", "relu1/3")
    assert findings.layers == ("conv3",) * 3 + ("relu1",) * 3
    for entry, (path, one) in enumerate((path, one) for path in ("body.conv3", "body.relu1") for one in (2, 0, 3)):
        peaks = outputs_of(model, path, batch.pool)[:, one].flatten(1).amax(1)
        best = sorted(range(FACES), key=lambda face: (-float(peaks[face]), int(batch.rows[face])))[:5]
        assert result.rows[entry].tolist() == batch.rows[best].tolist()
        assert result.labels[entry].tolist() == batch.labels[best].tolist()
        assert torch.equal(result.images[entry], batch.pool[best])
        torch.testing.assert_close(result.values[entry], peaks[best], rtol=1e-5, atol=1e-6)
        assert result.dead[entry].item() == pytest.approx((peaks <= 0).float().mean().item())


def test_the_box_is_what_the_strongest_unit_sees():
    model = network()
    batch = batch_of(model, "conv2")
    result, _ = explain(batch, filters=2, top=3)
    outputs = outputs_of(model, "body.conv2", batch.pool)
    for entry in range(2):
        for place, row in enumerate(result.rows[entry].tolist()):
            face = batch.rows.tolist().index(row)
            y, x = divmod(int(outputs[face, entry].argmax()), 16)
            box, core = result.boxes[entry, place].tolist(), result.cores[entry, place].tolist()
            assert box == [max(0, y - 2), max(0, x - 2), min(16, y + 3), min(16, x + 3)]
            assert box[0] <= core[0] < core[2] <= box[2]
            assert box[1] <= core[1] < core[3] <= box[3]


def test_of_equal_faces_the_lowest_row_comes_first_and_copies_are_left_out():
    model = network()
    batch = batch_of(model, "conv1")
    pool = batch.pool.clone()
    pool[10:40:10] = pool[0]
    batch = replace(batch, pool=pool)
    copies = batch.rows[[0, 10, 20, 30]].sort().values.tolist()
    everything, _ = explain(batch, filters=1, top=FACES, copies=True)
    ranks = [everything.rows[0].tolist().index(row) for row in copies]
    assert ranks == list(range(ranks[0], ranks[0] + 4))
    once, _ = explain(batch, filters=1, top=FACES)
    assert once.rows.shape == (1, FACES - 3)
    assert once.rows[0].tolist() == [row for row in everything.rows[0].tolist() if row not in copies[1:]]
    assert torch.equal(once.dead, everything.dead)


def test_dead_filters():
    model = network()
    norm = model.get_submodule("body.norm2")
    norm.weight.data[1], norm.bias.data[1] = 0.0, -1.0
    _, findings = explain(batch_of(model, "relu2"), filters="all", top=2)
    result, _ = explain(batch_of(model, "relu2"), filters=[1], top=2)
    assert result.dead.tolist() == [1.0]
    # A unit that never changes looks nowhere, so its core is all that it can see.
    assert torch.equal(result.cores, result.boxes)
    assert findings.numbers is not None
    assert findings.numbers["relu2/dead_filters"] == 0.25
    assert findings.numbers["relu2/dead"] >= 0.25


def test_the_network_is_left_as_it_was():
    model = network().train()
    explain(batch_of(model, "conv2"), filters=1, top=1)
    assert all(module.training and not module._forward_hooks for module in model.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


def test_floats_become_pictures():
    assert top_faces.as_bytes(torch.tensor([0.0, 0.5, 1.0])).tolist() == [0, 128, 255]
    assert top_faces.as_bytes(torch.tensor([-1.0, 0.0, 3.0])).tolist() == [0, 64, 255]
    assert top_faces.as_bytes(torch.tensor([7], dtype=torch.uint8)).tolist() == [7]


def test_wrong_batchs_and_outputs_that_are_not_finite():
    model = network()
    with pytest.raises(ConfigError, match=r"layer=input: pixels have no filters"):
        explain(batch_of(model, "conv1", "input"))
    with pytest.raises(ConfigError, match=r"explainer.filters=9: conv1 has 4 filters"):
        explain(batch_of(model, "conv1"), filters=[9])
    with pytest.raises(ConfigError, match=r"explainer.top=0: expected a whole number from 1 to 100"):
        build_plugin("explainer", "top_faces", top=0)
    model.get_submodule("body.conv1").weight.data[0] = torch.nan
    with pytest.raises(RunError, match=r"layer=conv1: its output for face 10[0-9]+ is not finite"):
        explain(batch_of(model, "conv1"))
