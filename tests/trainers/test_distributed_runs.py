"""Two processes on the CPU against one with the same batches: the same curves and, up to rounding, the same weights."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from fervis.core.faces import Faces
from fervis.core.protocols import TrainingContext
from fervis.core.registry import build_plugin
from fervis.trainers.trained import initial_network, train_or_load, training_key

Log = Callable[[int, Mapping[str, float]], None]
# Rates at which rounding is not yet blown up: the curves then differ by less than 1e-6, and by 1e-2 where each process
# normalises by its own share.
PLAIN = {"lr": 0.002}
EVERYTHING = {
    "optimizer": "adamw",
    "lr": 0.0005,
    "schedule": "cosine",
    "ema": 0.9,
    "mixup": 0.2,
    "cutmix": 1.0,
    "erasing": 0.3,
    "balance": "loss",
    "clip": 1.0,
    "keep": "few",
}


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Faces:
    drawn = build_plugin("dataset", "faces", per_class_train=37, per_class_val=5, per_class_test=1)
    return drawn.load(tmp_path_factory.mktemp("cache"))


def train(faces: Faces, folder: Path, devices: int, recipe: Mapping[str, Any], log: Log) -> dict[str, torch.Tensor]:
    """The weights that a training of two epochs ends with; dropout is on."""
    network = initial_network(build_plugin("model", "vgg8", width=2), 0, channels=1, size=48, classes=faces.classes)
    trainer = build_plugin("trainer", "supervised", epochs=2, batch_size=64, devices=devices, **recipe)
    train_or_load(trainer, network, faces, folder, TrainingContext(5, "cpu", "fp32", log, quiet=True))
    return {name: value.detach() for name, value in network.state_dict().items()}


def curves(folder: Path) -> list[dict[str, float]]:
    rows = csv.DictReader((folder / "metrics.csv").read_text().splitlines())
    return [{name: float(value) for name, value in row.items() if name != "images_per_second"} for row in rows]


def alike(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> None:
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-3, atol=1e-4, msg=lambda text, n=name: f"{n}: {text}")


def test_two_processes_train_as_one_does(faces: Faces, tmp_path: Path):
    told: dict[int, list[int]] = {1: [], 2: []}
    weights = {
        devices: train(
            faces, tmp_path / str(devices), devices, PLAIN, lambda epoch, _, n=devices: told[n].append(epoch)
        )
        for devices in (1, 2)
    }
    one, two = curves(tmp_path / "1"), curves(tmp_path / "2")
    for row, twin in zip(one, two, strict=True):
        assert twin == pytest.approx(row, abs=1e-4)
    alike(weights[1], weights[2])
    assert told[1] == told[2] == [1, 2], "epochs are told of where the training was asked for"
    names = {path.name for path in (tmp_path / "1").iterdir()}
    assert names == {path.name for path in (tmp_path / "2").iterdir()}


def test_mixing_averaging_and_resuming_are_those_of_one(faces: Faces, tmp_path: Path):
    def cut(epoch: int, _: Mapping[str, float]) -> None:
        raise KeyboardInterrupt

    whole = train(faces, tmp_path / "1", 1, EVERYTHING, lambda *_: None)
    with pytest.raises(KeyboardInterrupt):
        train(faces, tmp_path / "2", 2, EVERYTHING, cut)
    assert not torch.multiprocessing.active_children()
    assert (tmp_path / "2" / "course.safetensors").is_file()
    stamp = (tmp_path / "2" / "epoch_001.safetensors").stat().st_mtime_ns
    resumed = train(faces, tmp_path / "2", 2, EVERYTHING, lambda *_: None)
    assert (tmp_path / "2" / "epoch_001.safetensors").stat().st_mtime_ns == stamp, "it went on after the first epoch"
    for row, twin in zip(curves(tmp_path / "1"), curves(tmp_path / "2"), strict=True):
        assert twin == pytest.approx(row, abs=1e-4)
    alike(whole, resumed)


def test_the_key_of_one_process_is_that_of_a_trainer_without_the_choice(faces: Faces):
    told = {"name": "supervised", "epochs": 1}
    keys = [
        training_key({"name": "vgg8"}, {**told, **more}, faces, 0, "fp32")
        for more in ({}, {"devices": 1, "nodes": 1}, {"devices": 2, "nodes": 1}, {"devices": 1, "nodes": 2})
    ]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3
