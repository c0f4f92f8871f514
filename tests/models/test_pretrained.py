"""Networks that come with fervis: what is shipped is what was trained, and is taken where it fits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import fervis
from fervis.core.registry import build_plugin
from fervis.errors import ConfigError
from fervis.models import pretrained
from fervis.runs.config import compose_config, run_key, to_run_config
from fervis.runs.train import training_config

CLASSES = ("a", "b", "c")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of shipped networks: a vgg8 of width 4, after its best and its first epoch."""
    monkeypatch.setattr(pretrained, "PRETRAINED_FOLDER", tmp_path)
    for number, name in enumerate(["vgg8-fer2013", "vgg8-fer2013-epoch1"]):
        with torch.random.fork_rng():
            torch.manual_seed(number)
            network = build_plugin("model", "vgg8", width=4).build(channels=1, size=48, classes=CLASSES)
        network.body.norm1.running_var.fill_(1e6)  # more than half precision holds
        knobs = {"name": "vgg8", "width": 4, "dropout": 0.2, "weights": None, "checkpoint": None}
        pretrained.package_weights(network, knobs, tmp_path / f"{name}.safetensors", {"data": "x"})
    return tmp_path


def test_a_shipped_network_is_the_trained_one_in_half_precision(folder: Path):
    network = fervis.load_model("vgg8", weights="fer2013")
    assert not network.training
    assert network.classes == CLASSES
    with torch.random.fork_rng():
        torch.manual_seed(0)
        whole = build_plugin("model", "vgg8", width=4).build(channels=1, size=48, classes=CLASSES)
    for (name, one), two in zip(network.named_parameters(), whole.parameters(), strict=True):
        assert one.dtype == torch.float32
        expected = two.half().float() if two.ndim > 1 else two
        assert torch.equal(one, expected), name
    assert network.body.norm1.running_var.max() == 1e6
    first = fervis.load_model("vgg8", "fer2013", checkpoint=1)
    assert not torch.equal(first.body.conv1.weight, network.body.conv1.weight)


def test_what_is_not_shipped_is_refused_by_name(folder: Path):
    with pytest.raises(ConfigError, match=r"model.weights=fer2031: .* Did you mean fer2013\?"):
        fervis.load_model("vgg8", "fer2031")
    with pytest.raises(ConfigError, match="best epoch and of epoch 1"):
        fervis.load_model("vgg8", "fer2013", checkpoint=7)


@pytest.mark.parametrize(
    ("overrides", "weights"),
    [
        (["dataset=fer2013"], "fer2013"),
        (["dataset=photos", "layer=conv7"], "fer2013"),
        (["dataset=faces"], None),
        (["dataset=fer2013", "trainer.epochs=3"], None),
        (["dataset=fer2013", "trainer=quick"], None),
        (["dataset=fer2013", "model.width=8"], None),
        (["dataset=fer2013", "model.weights=null"], None),
        (["dataset=faces", "model.weights=fer2013"], "fer2013"),
    ],
)
def test_shipped_weights_are_taken_where_they_fit_and_nothing_is_said_of_training(
    folder: Path, overrides: list[str], weights: str | None
):
    assert to_run_config(compose_config(overrides)).model["weights"] == weights


def test_an_answer_by_a_shipped_network_is_another_than_by_one_trained(folder: Path):
    taken, trained = (
        run_key(to_run_config(compose_config(["dataset=fer2013", *more]))) for more in ([], ["trainer=quick"])
    )
    assert taken != trained
    assert run_key(to_run_config(compose_config(["dataset=fer2013", "model.weights=fer2013"]))) == taken


def test_a_config_states_what_the_shipped_weights_were_made_with():
    config = to_run_config(compose_config(["dataset=fer2013"]))
    assert (config.model["width"], config.trainer["epochs"], config.trainer["lr"]) == (32, 16, 0.03)
    trained = training_config(["dataset=fer2013"])
    assert (trained.model["width"], trained.trainer["epochs"], trained.trainer["start"]) == (16, 8, None)
    assert trained.model["weights"] is None


def test_networks_without_shipped_weights_are_trained(folder: Path):
    assert "weights" not in to_run_config(compose_config(["dataset=fer2013", "model=resnet18"])).model


@pytest.mark.skipif("FERVIS_FER2013" not in os.environ, reason="needs FER2013 (FERVIS_FER2013)")
def test_the_shipped_network_is_worth_what_its_card_says_to_the_image(tmp_path: Path):
    source = Path(os.environ["FERVIS_FER2013"])
    exporter = [sys.executable, str(source / "export_fer2013.py"), str(tmp_path), "--layout", "npz"]
    subprocess.run(exporter, check=True, timeout=300)
    faces = (
        build_plugin("dataset", "fer2013", path=str(tmp_path / "fer2013.npz")).load(tmp_path / "cache").split("test")
    )
    network = fervis.load_model("vgg8", weights="fer2013")
    with torch.no_grad():
        guesses = torch.cat([network(part.float() / 255).argmax(1) for part in faces.images.split(128)])
    right = int((guesses == faces.labels).sum())
    report = json.loads((pretrained.PRETRAINED_FOLDER / "vgg8-fer2013.json").read_text(encoding="utf-8"))
    scored = report["results"]["test"]["none"]["full"]
    counts = torch.tensor(scored["confusion"]["counts"])
    assert (right, len(faces)) == (int(counts.trace()), int(counts.sum()))
    assert torch.equal(counts, torch.bincount(faces.labels * 7 + guesses, minlength=49).view(7, 7))
    card = (pretrained.PRETRAINED_FOLDER / "vgg8-fer2013.md").read_text(encoding="utf-8")
    assert f"{100 * right / len(faces):.1f} [" in card
