"""What a training keeps beside its checkpoints, against numbers computed here."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from fervis.core.faces import Faces
from fervis.core.protocols import TrainingContext
from fervis.core.registry import build_plugin
from fervis.errors import ConfigError, RunError
from fervis.metrics.classifier.evaluation import classifier_scores
from fervis.models.state_dicts import load_weights
from fervis.runs.evaluate import accuracy_table, evaluate_training
from fervis.trainers.trained import checkpoint_file, initial_network, train_or_load


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Faces, dict[str, object]]:
    """The folder of a small training, assessed, its faces, and the report."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(120) % 3
    images = torch.randint(0, 90, (120, 1, 24, 24), generator=generator, dtype=torch.uint8)
    for label in range(3):
        images[labels == label, :, 8 * label : 8 * label + 8] += 60
    splits = torch.tensor([0, 0, 1, 2, 0, 0, 2, 1, 0, 2]).repeat(12).to(torch.uint8)
    images[splits == 2][0] = images[splits == 0][0]
    faces = Faces(images, labels, torch.arange(120), splits, ("top", "middle", "bottom"))
    path = tmp_path_factory.mktemp("training")
    trainer = build_plugin("trainer", "supervised", epochs=3, batch_size=20)
    model = build_plugin("model", "vgg8", width=2)
    network = initial_network(model, 0, channels=1, size=24, classes=faces.classes)
    context = TrainingContext(0, "cpu", "fp32", lambda *_: None, quiet=True)
    history = train_or_load(trainer, network, faces, path, context)
    best = initial_network(model, 0, channels=1, size=24, classes=faces.classes)
    load_weights(best, checkpoint_file("best", path, history))
    facts = {"model": "vgg8", "dataset": "faces", "command": "fervis train", "seed": 0, "trainer": {"epochs": 3}}
    return path, faces, evaluate_training(best, faces, path, history, facts)


def test_everything_is_kept(folder: tuple[Path, Faces, dict[str, object]]):
    path, _, report = folder
    for name in ("evaluation.json", "probabilities.npz", "curves.png", "confusion.png", "card.md", "metrics.csv"):
        assert (path / name).is_file()
    assert json.loads((path / "evaluation.json").read_text()) == json.loads(json.dumps(report))


def test_the_numbers_are_those_of_the_network(folder: tuple[Path, Faces, dict[str, object]]):
    path, faces, report = folder
    history = json.loads((path / "training.json").read_text())
    network = initial_network(
        build_plugin("model", "vgg8", width=2), 0, channels=1, size=24, classes=faces.classes
    ).eval()
    load_weights(network, path / f"epoch_{history['best']:03d}.safetensors")
    kept = np.load(path / "probabilities.npz")
    for split in ("val", "test"):
        there = faces.split(split)
        with torch.no_grad():
            pixels = there.images.float() / 255
            plain, mirrored = network(pixels).softmax(1), network(pixels.flip(3)).softmax(1)
        np.testing.assert_allclose(kept[f"{split}/none"], plain, atol=1e-6)
        np.testing.assert_allclose(kept[f"{split}/flip"], (plain + mirrored) / 2, atol=1e-6)
        accuracy = float((plain.argmax(1) == there.labels).float().mean())
        scored = report["results"][split]["none"]["full"]["accuracy"]  # pyright: ignore
        assert scored["value"] == pytest.approx(accuracy, abs=1e-6)
        assert scored["low"] <= scored["value"] <= scored["high"]
        assert f"{100 * accuracy:.1f} %" in accuracy_table(report)  # pyright: ignore
    card = (path / "card.md").read_text()
    assert "fervis train" in card
    assert f"epoch {history['best']} of 3, by accuracy on val" in card


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_network_without_finite_outputs_gets_no_accuracy(
    folder: tuple[Path, Faces, dict[str, object]], tmp_path: Path, value: float
):
    _, faces, _ = folder
    network = initial_network(build_plugin("model", "vgg8", width=2), 0, channels=1, size=24, classes=faces.classes)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(value)
    with pytest.raises(ConfigError, match=r"not finite .* for 24 of 24 images"):
        evaluate_training(network, faces, tmp_path, {"best": 1, "last": 1}, {"seed": 0})
    assert not list(tmp_path.iterdir())
    probabilities = torch.full((120, 3), value)
    with pytest.raises(RunError, match=r"not finite for 120 of 120 images"):
        classifier_scores(probabilities, faces.labels, faces.classes, {})


def test_it_is_done_once(folder: tuple[Path, Faces, dict[str, object]]):
    path, faces, report = folder
    stamp = (path / "evaluation.json").stat().st_mtime_ns
    again = evaluate_training(torch.nn.Identity(), faces, path, {"best": 1}, {})  # pyright: ignore
    assert again == json.loads(json.dumps(report))
    assert (path / "evaluation.json").stat().st_mtime_ns == stamp
