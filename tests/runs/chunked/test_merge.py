"""A received folder is data: merging it runs none of its code, sends nothing, and uses this command's settings."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

import fervis
from fervis.errors import ConfigError, RunError
from fervis.runs.chunked.merge import merge_runs

NETWORK = """
import os, pathlib
from torch import nn
pathlib.Path(os.environ["FERVIS_TEST_RAN"]).touch()

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 4, 3), nn.Linear(4, 7)

    def forward(self, x):
        return self.head(self.conv(x).relu().mean((2, 3)))

build = Net
"""
SMALL = ["dataset.per_class_train=4", "dataset.per_class_val=1", "dataset.per_class_test=1", "trainer.epochs=1"]
SMALL += ["trainer.batch_size=4", "faces=all", "quiet=true", "visualizer.dpi=40", "outputs=outputs"]


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that the network makes when it is imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FERVIS_TEST_RAN", str(tmp_path / "ran"))
    return tmp_path / "ran"


def shards(*overrides: str) -> Path:
    for number in (1, 2):
        folder = fervis.ask([*SMALL, *overrides, f"shard={number}/2"])
    return folder


def test_code_is_run_only_where_it_is_typed_or_trusted(ran: Path, tmp_path: Path):
    (tmp_path / "net.py").write_text(NETWORK)
    own = ["model=own", "model.path=net.py", "layer=conv"]
    folder = shards(*own)
    received = Path(shutil.copytree(folder, tmp_path / "received"))
    ran.unlink()
    with pytest.raises(ConfigError, match=r"its config runs the Python code of net\.py; give --trust"):
        merge_runs([str(received)])
    assert not ran.exists()
    assert merge_runs([*SMALL, *own, str(received)]) == folder
    assert ran.exists()
    assert merge_runs([str(received), "--trust"]) == received
    assert (received / "arrays.npz").read_bytes() == (folder / "arrays.npz").read_bytes()


def test_machine_settings_of_a_received_folder_do_not_count(ran: Path, tmp_path: Path):
    folder = shards("model.width=2", "tracker=tensorboard", "checkpoint=initial")
    about = folder / "blocks" / "about.json"
    stored = json.loads(about.read_text())
    stored["run"]["config"]["outputs"] = str(tmp_path / "theirs")
    about.write_text(json.dumps(stored))
    assert merge_runs([str(folder)]) == folder
    assert not (tmp_path / "theirs").exists()
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["key"] == stored["run"]["key"]
    assert not list(folder.rglob("*tfevents*"))


def test_interpolations_of_a_received_folder_are_not_resolved(ran: Path):
    folder = shards("model.width=2")
    about = folder / "blocks" / "about.json"
    stored = json.loads(about.read_text())
    stored["run"]["config"]["target"] = "${oc.env:HOME}"
    about.write_text(json.dumps(stored))
    with pytest.raises(ConfigError, match="holds an interpolation") as refused:
        merge_runs([str(folder)])
    assert os.environ["HOME"] not in str(refused.value).replace(str(folder), "")


def test_shards_of_other_settings_than_their_key_are_refused(ran: Path):
    folder = shards("model.width=2")
    about = folder / "blocks" / "about.json"
    stored = json.loads(about.read_text())
    stored["run"]["config"]["seed"] = 1
    about.write_text(json.dumps(stored))
    with pytest.raises(ConfigError, match="made from other data, weights, code or versions"):
        merge_runs([str(folder)])
    about.write_text(about.read_text()[:50])
    with pytest.raises(RunError, match=r"about\.json: it is damaged"):
        merge_runs([str(folder)])


def test_a_damaged_chunk_is_logged_and_explained_again(ran: Path, caplog: pytest.LogCaptureFixture):
    folder = shards("model.width=2")
    whole = Path(shutil.copytree(folder, "whole"))
    expected = (merge_runs([str(whole)]) / "arrays.npz").read_bytes()
    chunk = folder / "blocks" / "000000.safetensors"
    data = bytearray(chunk.read_bytes())
    data[-10] ^= 1
    chunk.write_bytes(data)
    with pytest.raises(RunError, match="1 of 1 chunks of faces are missing"):
        merge_runs([str(folder)])
    assert "000000.safetensors is damaged" in caplog.text
    shards("model.width=2")
    assert (merge_runs([str(folder)]) / "arrays.npz").read_bytes() == expected


def test_a_network_trained_on_other_cores_is_found_when_shards_are_merged(ran: Path, monkeypatch):
    folder = shards("model.width=2")
    monkeypatch.setattr("fervis.system.threads.available_cores", lambda: tuple(range(64)))
    assert merge_runs([str(folder)]) == folder
    assert len(list(Path("outputs/checkpoints").iterdir())) == 1
