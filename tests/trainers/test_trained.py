"""Trainings are found by the content of what they depend on, and read back only where they are intact."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from fervis.core.faces import Faces
from fervis.core.protocols import TrainingContext
from fervis.core.registry import build_plugin
from fervis.system.hashing import file_hash
from fervis.trainers.trained import initial_network, train_or_load, training_key

MODEL = {"name": "vgg8", "width": 2}
TRAINER = {"name": "supervised", "epochs": 2, "batch_size": 16}


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Faces:
    drawn = build_plugin("dataset", "faces", per_class_train=6, per_class_val=2, per_class_test=1)
    return drawn.load(tmp_path_factory.mktemp("cache"))


def train(faces: Faces, folder: Path, cache: Path, key: str = "key", stop: int = 0) -> dict[str, object]:
    def log(epoch: int, _: object) -> None:
        if epoch == stop:
            raise KeyboardInterrupt

    network = initial_network(build_plugin("model", MODEL), 0, channels=1, size=48, classes=faces.classes)
    context = TrainingContext(0, "cpu", "fp32", log, quiet=True)
    return train_or_load(build_plugin("trainer", TRAINER), network, faces, folder, context, key=key, cache=cache)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)


def weights(folder: Path) -> dict[str, str]:
    return {path.name: file_hash(path) for path in sorted(folder.glob("*.safetensors"))}


@pytest.mark.parametrize("damage", ["weights", "missing", "record", "key"])
def test_a_damaged_training_is_logged_and_done_again(
    damage: str, faces: Faces, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    folder = tmp_path / "training"
    train(faces, folder, tmp_path)
    before, stamp = weights(folder), (folder / "training.json").stat().st_mtime_ns
    train(faces, folder, tmp_path)
    assert (folder / "training.json").stat().st_mtime_ns == stamp
    if damage == "weights":
        flip(folder / "epoch_002.safetensors")
    elif damage == "missing":
        (folder / "epoch_001.safetensors").unlink()
    elif damage == "record":
        flip(folder / "training.json")
    train(faces, folder, tmp_path, key="other" if damage == "key" else "key")
    assert weights(folder) == before
    assert (folder / "training.json").stat().st_mtime_ns != stamp
    assert "the network is trained again" in caplog.text


def test_a_damaged_state_begins_from_the_start(faces: Faces, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    train(faces, tmp_path / "whole", tmp_path)
    with pytest.raises(KeyboardInterrupt):
        train(faces, tmp_path / "cut", tmp_path, stop=1)
    flip(tmp_path / "cut" / "course.safetensors")
    train(faces, tmp_path / "cut", tmp_path)
    assert "course.safetensors is damaged" in caplog.text
    assert weights(tmp_path / "cut") == weights(tmp_path / "whole")


def key(faces: Faces, tmp_path: Path, model: dict[str, object] | None = None, **trainer: object) -> str:
    return training_key({**MODEL, **(model or {})}, {**TRAINER, **trainer}, faces, 0, "bf16", cache=tmp_path)


def test_the_weights_that_a_training_starts_from_count_by_content(faces: Faces, tmp_path: Path):
    start = tmp_path / "start.safetensors"
    start.write_bytes(b"one")
    before = key(faces, tmp_path, start=str(start))
    start.write_bytes(b"two")
    assert key(faces, tmp_path, start=str(start)) != before


def test_an_own_networks_file_counts_by_content(faces: Faces, tmp_path: Path):
    path = tmp_path / "net.py"
    path.write_text("ACT = 'relu'")
    given = {"name": "own", "path": str(path)}
    before = training_key(given, TRAINER, faces, 0, "fp32", cache=tmp_path)
    path.write_text("ACT = 'tanh'")
    assert training_key(given, TRAINER, faces, 0, "fp32", cache=tmp_path) != before


def test_the_cores_of_a_cpu_count(faces: Faces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("fervis.system.threads.available_cores", lambda: (0,))
    one = key(faces, tmp_path)
    monkeypatch.setattr("fervis.system.threads.available_cores", lambda: (0, 1))
    assert key(faces, tmp_path) != one
    given = training_key(MODEL, TRAINER, faces, 0, "bf16", device="cuda", cache=tmp_path)
    monkeypatch.setattr("fervis.system.threads.available_cores", lambda: (0,))
    assert training_key(MODEL, TRAINER, faces, 0, "bf16", device="cuda", cache=tmp_path) == given


def test_votes_count(faces: Faces, tmp_path: Path):
    votes = torch.ones(len(faces), 2, dtype=torch.uint8)
    one = dataclasses.replace(faces, votes=votes, vote_names=("a", "b"))
    two = dataclasses.replace(faces, votes=votes * 3, vote_names=("a", "b"))
    assert key(one, tmp_path, votes=True) != key(two, tmp_path, votes=True)
