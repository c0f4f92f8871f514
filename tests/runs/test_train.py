"""Trainings as the command does them: followed by a tracker, and several seeds with their mean and ensemble."""

from __future__ import annotations

import dataclasses
import json
import shlex
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from support.command import SMALL

from fervis.cli.commands import train_command
from fervis.core.protocols import ImageRow, RunInfo
from fervis.core.registry import build_plugin
from fervis.core.results import Figure
from fervis.errors import ConfigError
from fervis.runs import train
from fervis.runs.config import RunConfig, compose_config, to_run_config
from fervis.runs.setup import RunSetup, build_run


@dataclasses.dataclass
class Notes:
    """A tracker that writes down what it is told."""

    said: list[tuple[str, Any]] = dataclasses.field(default_factory=list)

    def start(self, run: RunInfo) -> None:
        self.said.append(("start", run))

    def log_metrics(self, metrics: Mapping[str, float], epoch: int | None = None) -> None:
        self.said.append(("numbers" if epoch is None else f"epoch {epoch}", dict(metrics)))

    def log_figure(self, name: str, figure: Figure) -> None:
        self.said.append((name, figure))

    def log_images(self, rows: Sequence[ImageRow]) -> None:
        raise AssertionError("a training explains no face")

    def log_confusion(self, name: str, counts: NDArray[np.int64], classes: Sequence[str]) -> None:
        self.said.append((name, (counts.tolist(), list(classes))))

    def log_artifact(self, name: str, kind: str, files: Mapping[str, Path]) -> None:
        self.said.append((kind, (name, dict(files))))

    def finish(self, ok: bool) -> None:
        self.said.append(("finish", ok))


@pytest.fixture
def notes(monkeypatch: pytest.MonkeyPatch) -> Notes:
    kept = Notes()

    def noted(question: RunConfig) -> RunSetup:
        return dataclasses.replace(build_run(question), tracker=kept)

    monkeypatch.setattr(train, "build_run", noted)
    return kept


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("outputs")


def trained(outputs: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[Path, str]:
    train_command([*SMALL, f"outputs={outputs}", "quiet=true", "model.width=4", *arguments])
    text = capsys.readouterr().out
    return Path(text.splitlines()[-1]), text


def test_the_tracker_sees_epochs_numbers_and_figures(outputs: Path, notes: Notes, capsys: pytest.CaptureFixture[str]):
    folder, _ = trained(outputs, capsys, "trainer.epochs=2")
    (_, card), *_ = notes.said
    assert (card.job_type, card.name, card.folder.resolve(), card.group) == ("train", folder.name, folder, None)
    assert card.id == folder.name.removeprefix("vgg8-")
    assert card.config["trainer"]["epochs"] == 2
    assert [word for word, _ in notes.said] == [
        "start", "epoch 1", "epoch 2", "numbers", "curves", "confusion", "confusion_matrix/test", "model", "finish"
    ]  # fmt: skip
    told = dict(notes.said)
    assert yaml.safe_load((folder / "config.yaml").read_text()) == card.config
    report = json.loads((folder / "evaluation.json").read_text())
    for split in ("val", "test"):
        for metric in ("accuracy", "macro_f1", "ece", "nll", "brier"):
            value = report["results"][split]["none"]["full"][metric]["value"]
            assert told["numbers"][f"{split}/{metric}"] == value
    assert told["numbers"]["best"] == json.loads((folder / "training.json").read_text())["best"]
    for name in ("curves", "confusion"):
        assert told[name].path.resolve() == folder / f"{name}.png"
        assert told[name].caption
    test = report["results"]["test"]["none"]["full"]["confusion"]["counts"]
    assert told["confusion_matrix/test"] == (test, report["classes"])
    name, files = told["model"]
    assert name == folder.name
    best, last = (json.loads((folder / "training.json").read_text())[word] for word in ("best", "last"))
    assert {place: path.resolve() for place, path in files.items()} == {
        "best.safetensors": folder / f"epoch_{best:03d}.safetensors",
        "last.safetensors": folder / f"epoch_{last:03d}.safetensors",
        **{place: folder / place for place in ("config.yaml", "card.md", "evaluation.json", "metrics.csv")},
    }
    assert told["finish"] is True

    first, notes.said = notes.said[1:], []
    stamp = (folder / "epoch_002.safetensors").stat().st_mtime_ns
    trained(outputs, capsys, "trainer.epochs=2")
    assert (folder / "epoch_002.safetensors").stat().st_mtime_ns == stamp
    assert notes.said[1:] == first, "a training that was done before is told of as if it were done now"


def test_the_command_that_uses_a_trained_network_is_logged(
    outputs: Path, notes: Notes, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
):
    with caplog.at_level("INFO", "fervis"):
        folder, _ = trained(outputs, capsys, "trainer.epochs=1")
    (line,) = [message for message in caplog.messages if message.startswith("use it with: ")]
    words = shlex.split(line.removeprefix("use it with: "))
    assert words[:3] == ["python", "-m", "fervis"]
    config = to_run_config(compose_config(words[3:]))
    assert (config.model["name"], config.model["width"]) == ("vgg8", 4)
    assert Path(config.model["checkpoint"]).resolve() == folder / "epoch_001.safetensors"
    (checkpoint,) = build_run(config).checkpoints
    assert checkpoint.weights == Path(config.model["checkpoint"])


def test_a_training_that_fails_is_said_to_have_failed(
    outputs: Path, notes: Notes, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    def broken(*_: object) -> None:
        raise ValueError("no evaluation today")

    monkeypatch.setattr(train, "evaluate_training", broken)
    with pytest.raises(ValueError, match="no evaluation today"):
        trained(outputs, capsys, "seed=8")
    assert notes.said[-1] == ("finish", False)


def test_several_seeds_give_mean_deviation_and_ensemble(
    outputs: Path, notes: Notes, capsys: pytest.CaptureFixture[str]
):
    folder, text = trained(outputs, capsys, "-m", "seed=0,1")
    cards = [said for word, said in notes.said if word == "start"]
    assert len({card.group for card in cards}) == 1 < len({card.id for card in cards})
    assert cards[0].group.startswith("seed-")
    assert folder.parent == outputs / "trainings"
    assert folder.name.startswith("vgg8-synthetic-")
    assert sorted(path.name for path in folder.iterdir()) == [
        "card.md", "confusion.png", "probabilities.npz", "summary.json"
    ]  # fmt: skip
    summary = json.loads((folder / "summary.json").read_text())
    assert [one["seed"] for one in summary["trainings"]] == [0, 1]
    parts = [outputs / "checkpoints" / one["training"] for one in summary["trainings"]]
    values = [json.loads((part / "evaluation.json").read_text())["results"]["test"]["flip"]["full"] for part in parts]
    accuracies = [value["accuracy"]["value"] for value in values]
    found = summary["runs"]["results"]["test"]["flip"]["full"]["accuracy"]
    assert found == {"mean": statistics.mean(accuracies), "sd": statistics.stdev(accuracies), "values": accuracies}

    sizes = {"per_class_train": 40, "per_class_val": 10, "per_class_test": 4}
    test = build_plugin("dataset", "faces", **sizes).load(outputs / "cache").split("test")
    for view in ("none", "flip", "tencrop"):
        mean = sum(np.load(part / "probabilities.npz")[f"test/{view}"] for part in parts) / 2
        np.testing.assert_allclose(np.load(folder / "probabilities.npz")[f"test/{view}"], mean, atol=1e-7)
        right = float((mean.argmax(1) == test.labels.numpy()).mean())
        scored = summary["ensemble"]["results"]["test"][view]["full"]["accuracy"]
        assert scored["value"] == pytest.approx(right, abs=1e-6)
        assert scored["low"] <= right <= scored["high"]
        assert f"{100 * right:.1f} % [{100 * scored['low']:.1f}, {100 * scored['high']:.1f}]" in text
    assert f"{100 * found['mean']:.2f} ± {100 * found['sd']:.2f} %" in text
    card = (folder / "card.md").read_text()
    assert "Mean ± standard deviation over 2 seeds" in card
    assert "Ensemble of the runs" in card
    assert "python -m fervis train -m" in card
    assert str(outputs) not in card

    stamp = (folder / "summary.json").stat().st_mtime_ns
    assert trained(outputs, capsys, "-m", "seed=0,1") == (folder, text)
    assert (folder / "summary.json").stat().st_mtime_ns == stamp


def test_only_trainings_that_differ_in_the_seed_alone_are_told_of_together(
    outputs: Path, capsys: pytest.CaptureFixture[str]
):
    _, text = trained(outputs, capsys, "-m", "seed=0,1", "trainer.lr=0.1,0.01")
    assert text.count("accuracy over 2 seeds") == 2
    assert "trainer.lr=0.1" in text
    assert "trainer.lr=0.01" in text
    folders = {line for line in text.splitlines() if "/trainings/" in line}
    assert len(folders) == 2


def test_a_mistake_in_one_job_is_found_before_any_is_trained(outputs: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match=r"trainer\.batch_size=1: expected a whole number from 2"):
        train_command([*SMALL, f"outputs={tmp_path}", "-m", "trainer.batch_size=32,1"])
    assert not (tmp_path / "checkpoints").exists()
