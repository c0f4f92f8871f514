"""A run's key follows the content of all that determines its result, and nothing else."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from PIL import Image
from support.command import ROOT, SMALL

import fervis.core.registry
from fervis.core import fingerprints
from fervis.runs.config import compose_config, run_key, to_run_config
from fervis.system.hashing import content_hash

NETWORK = """
import torch
from torch import nn
from neighbour import ACT

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head, self.act = nn.Conv2d(1, 4, 3), nn.Linear(4, 7), ACT

    def forward(self, x):
        return self.head(self.act(self.conv(x)).mean((2, 3)))

build = Net
"""


def key(*overrides: str, outputs: Path, small: bool = True) -> str:
    return run_key(to_run_config(compose_config([f"outputs={outputs}", *(SMALL if small else []), *overrides])))


def write_face(path: Path, grey: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (48, 48), grey).save(path)
    return path


def test_a_relative_path_means_what_lies_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    keys = []
    for name, grey in (("a", 10), ("b", 200), ("c", 10)):
        write_face(tmp_path / name / "me.png", grey)
        monkeypatch.chdir(tmp_path / name)
        keys.append(key("dataset=photos", "dataset.path=me.png", outputs=tmp_path / "o", small=False))
    assert keys[0] == keys[2] != keys[1]


@pytest.mark.parametrize("knob", ["trainer.start", "model.checkpoint", "checkpoint"])
def test_a_file_of_weights_counts_by_its_content(knob: str, tmp_path: Path):
    weights, copy = tmp_path / "w.safetensors", tmp_path / "other" / "w.safetensors"
    weights.write_bytes(b"one")
    before = key(f"{knob}={weights}", outputs=tmp_path)
    copy.parent.mkdir()
    shutil.copyfile(weights, copy)
    assert key(f"{knob}={copy}", outputs=tmp_path) == before
    weights.write_bytes(b"two")
    assert key(f"{knob}={weights}", outputs=tmp_path) != before


def test_a_network_of_ones_own_counts_with_what_it_imports(tmp_path: Path):
    folder = tmp_path / "net"
    folder.mkdir()
    (folder / "net.py").write_text(NETWORK)
    (folder / "neighbour.py").write_text("import torch\nACT = torch.relu\n")
    given = ["model=own", f"model.path={folder / 'net.py'}"]
    before = key(*given, outputs=tmp_path)
    assert key(*given, outputs=tmp_path) == before
    (folder / "neighbour.py").write_text("import torch\nACT = torch.tanh\n")
    assert key(*given, outputs=tmp_path) != before
    (folder / "neighbour.py").write_text("import torch\nACT = torch.relu\n")
    assert key(*given, outputs=tmp_path) == before
    (folder / "net.py").write_text(NETWORK.replace("4, 3", "4, 5"))
    assert key(*given, outputs=tmp_path) != before


def test_ids_of_former_versions_that_met_have_different_keys(tmp_path: Path):
    keys = {key(f"seed={seed}", outputs=tmp_path) for seed in (76002, 101808)}
    assert len(keys) == 2
    assert len({value[:12] for value in keys}) == 2


def test_another_version_has_another_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    before = key(outputs=tmp_path)
    monkeypatch.setattr("fervis.runs.config.keys.__version__", "99")
    assert key(outputs=tmp_path) != before


@pytest.mark.parametrize("kind", ["dataset", "model", "trainer", "explainer", "visualizer"])
def test_other_code_of_a_plugin_gives_another_key(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    before = key(outputs=tmp_path)
    name = {"dataset": "synthetic", "model": "vgg8", "trainer": "supervised", "visualizer": "heatmap"}
    (own,) = fervis.core.registry.plugin_modules(kind, name.get(kind, "saliency"))

    def edited(path: Path, cache: Path) -> str:
        return "edited" if path == own else content_hash(path, cache)

    monkeypatch.setattr(fingerprints, "content_hash", edited)
    assert key(outputs=tmp_path) != before


def test_the_machine_counts_only_where_it_changes_a_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    before = key(outputs=tmp_path), key("dataset=fer2013", outputs=tmp_path, small=False)
    monkeypatch.setattr("fervis.system.threads.available_cores", lambda: tuple(range(77)))
    assert key(outputs=tmp_path) != before[0]
    assert key("dataset=fer2013", outputs=tmp_path, small=False) == before[1], "its weights come with fervis"
    assert key("threads=3", "tracker=tensorboard", "quiet=true", outputs=tmp_path / "o") == key(outputs=tmp_path)


def test_the_working_folder_and_the_environment_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    before = key(outputs=tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vgg8").mkdir()
    assert key(outputs=tmp_path / "elsewhere") == before
    assert os.fspath(ROOT) not in before


def test_against_is_short_for_the_explainers_setting(tmp_path: Path):
    question = ("explainer=confused", "target=happy")
    one, two = (key(*question, f"{name}=sad", outputs=tmp_path) for name in ("against", "explainer.against"))
    assert one == two != key(*question, outputs=tmp_path)
