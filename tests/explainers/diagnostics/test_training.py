"""What is followed over a training, against the same numbers computed one network at a time."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from fervis.core.layers import resolve_layers
from fervis.core.registry import build_plugin
from fervis.core.results import ExplainerOutput, Progress
from fervis.errors import ConfigError
from fervis.metrics.representation.cka import cka, gram
from fervis.models.batch import Batch
from fervis.models.state_dicts import save_weights

CLASSES = ("a", "b", "c")
EPOCHS = (1, 2, 5)
PIXELS = resolve_layers(nn.Identity(), "input", torch.zeros(1, 1, 16, 16))


def network(seed: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build_plugin("model", "vgg8", width=4).build(channels=1, size=16, classes=CLASSES).eval()


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> Batch:
    """A training of three epochs, each of other weights, asked about 100 faces of which the last ten have no label."""
    folder = tmp_path_factory.mktemp("training")
    epochs = {epoch: folder / f"epoch_{epoch:03d}.safetensors" for epoch in EPOCHS}
    for epoch, path in epochs.items():
        save_weights(path, network(epoch), {})
    generator = torch.Generator().manual_seed(0)
    pool = torch.randint(256, (100, 1, 16, 16), generator=generator, dtype=torch.uint8)
    labels = torch.randint(3, (100,), generator=generator)
    labels[90:] = -1
    images = pool[:2].float() / 255
    return Batch(
        model=network(9),
        images=images,
        pool=pool,
        rows=torch.arange(100),
        labels=labels,
        classes=CLASSES,
        layers=resolve_layers(network(0), ("conv1", "conv6"), images[:1]),
        epochs=epochs,
        history={1: {"train/loss": 1.9, "val/accuracy": 0.3, "lr": 0.1}, 5: {"train/loss": 0.7}},
    )


def followed(batch: Batch, **knobs: object) -> tuple[ExplainerOutput, Progress]:
    findings = build_plugin("explainer", "training", **knobs).explain(batch)
    assert isinstance(findings.result, Progress)
    return findings, findings.result


def outputs(model: nn.Module, images: torch.Tensor, layer: str) -> torch.Tensor:
    heard: list[torch.Tensor] = []
    handle = model.get_submodule(layer).register_forward_hook(lambda _m, _i, output: heard.append(output))
    with torch.no_grad():
        model(images)
    handle.remove()
    return heard[0]


def test_each_number_is_that_of_each_epochs_network(batch: Batch):
    findings, progress = followed(batch, faces=50)
    assert findings.layers == ("conv1", "conv6", "network")
    assert findings.targets == ("4 filters", "16 filters", "network")
    assert progress.epochs == EPOCHS
    images, labels = batch.pool[::2].float() / 255, batch.labels[::2]
    known = labels >= 0
    final = network(5)
    for column, epoch in enumerate(EPOCHS):
        model = network(epoch)
        for entry, layer in enumerate(("body.conv1", "body.conv6")):
            own = outputs(model, images, layer)
            likeness = float(cka([gram(own)], [gram(outputs(final, images, layer))]))
            dead = float((own.amax((0, 2, 3)) <= 0).double().mean())
            black = float((own <= 0).double().mean())
            for name, expected in (("cka", likeness), ("dead", dead), ("black", black)):
                assert float(progress.values[name][entry, column]) == pytest.approx(expected, abs=1e-6), name
        with torch.no_grad():
            right = model(images[known]).argmax(1) == labels[known]
        assert float(progress.values["accuracy"][2, column]) == pytest.approx(float(right.double().mean()), abs=1e-6)
    assert progress.values["cka"][:2, -1].tolist() == pytest.approx([1, 1], abs=1e-6)
    assert (progress.values["cka"][:2, 0] < 0.99).all()


def test_what_is_no_number_of_an_entry_is_nan(batch: Batch):
    _, progress = followed(batch, faces=50)
    assert set(progress.values) == {"cka", "dead", "black", "accuracy", "train/loss", "val/accuracy"}
    for name in ("cka", "dead", "black"):
        assert progress.values[name][2].isnan().all()
        assert progress.values[name][:2].isfinite().all()
        assert (progress.low[name] <= progress.high[name])[:2].all()
    loss = progress.values["train/loss"]
    assert loss[2, 0] == pytest.approx(1.9)
    assert loss[2, 1].isnan()
    assert loss[2, 2] == pytest.approx(0.7)
    assert loss[:2].isnan().all()
    assert progress.low["train/loss"].isnan().all()
    assert progress.values["val/accuracy"].isfinite().sum() == 1


def test_intervals_hold_the_value_and_are_drawn_from_the_seed(batch: Batch):
    _, one = followed(batch, faces=64)
    _, two = followed(replace(batch, model=network(8)), faces=64)
    _, other = followed(replace(batch, seed=1), faces=64)
    for name in one.values:
        assert torch.equal(one.values[name].nan_to_num(-1), two.values[name].nan_to_num(-1))
        assert torch.equal(one.low[name].nan_to_num(-1), two.low[name].nan_to_num(-1))
    for name in ("cka", "black"):
        assert (one.low[name][:2] <= one.values[name][:2]).all()
        assert (one.values[name][:2] <= one.high[name][:2]).all()
        assert not torch.equal(one.low[name][:2], other.low[name][:2])


def test_numbers_are_those_of_the_first_and_the_last_epoch(batch: Batch):
    findings, progress = followed(batch, faces=50, epochs=[5, 2])
    assert progress.epochs == (2, 5)
    assert findings.numbers is not None
    assert findings.numbers["2~5/conv6/cka"] == pytest.approx(float(progress.values["cka"][1, 0]), abs=1e-6)
    assert findings.numbers["5/conv1/black"] == pytest.approx(float(progress.values["black"][0, 1]), abs=1e-6)
    assert findings.numbers["2/network/accuracy"] == pytest.approx(float(progress.values["accuracy"][2, 0]), abs=1e-6)
    assert findings.numbers["faces"] == 50
    assert all(math.isfinite(value) for value in findings.numbers.values())


def test_the_network_is_left_as_it_was(batch: Batch):
    model = network(9).train()
    before = copy.deepcopy(model.state_dict())
    followed(replace(batch, model=model), faces=16)
    assert model.training
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert all(not module._forward_hooks for module in model.modules())


def test_a_small_pool_is_taken_whole_and_unlabelled_faces_have_no_accuracy(batch: Batch):
    few = replace(batch, pool=batch.pool[90:], rows=batch.rows[90:], labels=batch.labels[90:])
    findings, progress = followed(few)
    assert findings.numbers is not None
    assert findings.numbers["faces"] == 10
    assert progress.values["accuracy"].isnan().all()


@pytest.mark.parametrize(
    ("knobs", "changes", "message"),
    [
        ({}, {"epochs": {}}, "of which none are known here; .* model.weights=null trainer.keep=all"),
        ({}, {"epochs": {1: Path("x")}}, "of which 1 is known here"),
        ({"epochs": [1, 4]}, {}, "explainer.epochs=4: there is no such .* Known: 1, 2, 5"),
        (
            {},
            {"layers": resolve_layers(network(0), "input", torch.zeros(1, 1, 16, 16))},
            "layer=input: the pixels do not change",
        ),
        ({}, {"pool": torch.zeros(7, 1, 16, 16)}, "split=test: it has 7 faces; at least 8"),
    ],
)
def test_what_cannot_be_followed_is_said(batch: Batch, knobs: dict, changes: dict, message: str):
    with pytest.raises(ConfigError, match=message):
        followed(replace(batch, **changes), **knobs)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"faces": 7}, "explainer.faces=7: expected a whole number from 8"),
        ({"epochs": [3]}, "two or more epochs"),
        ({"epochs": [3, 3]}, "two or more epochs"),
        ({"epochs": "last"}, "explainer.epochs=last: expected all, or a list"),
        ({"epochs": ["best", 1]}, "expected all, or a list"),
    ],
)
def test_wrong_settings_are_refused(knobs: dict, message: str):
    with pytest.raises(ConfigError, match=message):
        build_plugin("explainer", "training", **knobs)
