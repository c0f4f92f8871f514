"""What is recorded of the training of the weights that come with fervis."""

from __future__ import annotations

import re

import pytest

from fervis.models.pretrained import (
    PRETRAINED_FOLDER,
    build_config,
    load_model,
    pretrained_epochs,
    pretrained_file,
    pretrained_names,
    pretrained_recipe,
    pretrained_refusal,
)
from fervis.models.state_dicts import describe_build, saved_build


@pytest.mark.parametrize("model", ["vgg8"])
def test_the_recipe_is_what_the_weights_and_their_card_say(model: str):
    for name in pretrained_names(model):
        recipe = pretrained_recipe(model, name)
        network = load_model(model, name)
        assert recipe["model"]["width"] == network.body.conv1.out_channels
        assert recipe["model"]["name"] == build_config(pretrained_file(model, name))["model"]["name"]
        assert recipe["epochs"] == sum(stage["trainer"]["epochs"] for stage in recipe["stages"])
        # The best epoch is counted over the stages: all of the first up to its best, then those of the last.
        assert max(pretrained_epochs(model, name)) == sum(stage["best"] for stage in recipe["stages"])
        card = (PRETRAINED_FOLDER / f"{model}-{name}.md").read_text(encoding="utf-8")
        assert recipe["command"] in card
        assert f"- Data, SHA-256: {recipe['data']['sha256']}" in card
        assert f"- Seeds: {recipe['seed']}" in card
        trained = re.search(r"^- Training: (.*)$", card, re.MULTILINE)
        assert trained
        assert dict(part.split("=", 1) for part in trained[1].split(", ")) == {
            knob: str(value) for knob, value in recipe["trainer"].items()
        }
        for override in recipe["command"].partition(" -- ")[0].split():
            kind, _, value = override.partition("=")
            if kind.startswith("trainer."):
                assert str(recipe["stages"][0]["trainer"][kind.partition(".")[2]]) == value


def test_the_shipped_vgg8_has_width_32_and_two_stages_of_60_and_16_epochs():
    recipe = pretrained_recipe("vgg8", "fer2013")
    assert recipe["model"]["width"] == 32
    assert [stage["trainer"]["epochs"] for stage in recipe["stages"]] == [60, 16]


@pytest.mark.parametrize(
    ("model", "dataset", "overrides", "begins"),
    [
        (
            "vgg8",
            "fer2013",
            ["dataset=fer2013", "model.width=16"],
            "model.width=16: the pretrained network is not used",
        ),
        ("vgg8", "fer2013", ["trainer.epochs=8", "+model.dropout=0.2"], "trainer.epochs=8, model.dropout=0.2: "),
        ("vgg8", "photos", ["trainer=quick"], "trainer=quick: "),
        ("vgg8", "fer2013", ["layer=conv7"], None),
        ("vgg8", "synthetic", ["model.width=16"], None),
        ("resnet18", "fer2013", ["model.width=16"], None),
        ("vgg8", "fer2013", ["model.width=16", "model.checkpoint=w.pt"], None),
        ("vgg8", "fer2013", ["model.width=16", "model.weights=null"], None),
    ],
)
def test_leaving_the_pretrained_network_is_said(model: str, dataset: str, overrides: list[str], begins: str | None):
    sentence = pretrained_refusal(model, dataset, overrides)
    if begins is None:
        assert sentence is None
    else:
        assert sentence is not None
        assert sentence.startswith(begins)
        assert "it has width 32, trained for 76 epochs" in sentence


def test_a_packaged_network_says_what_it_was_built_from():
    path = pretrained_file("vgg8", "fer2013")
    built = saved_build(path)
    assert built is not None
    assert (built["channels"], built["size"], len(built["classes"])) == (1, 48, 7)
    assert set(describe_build(load_model())) == {"frame"}
