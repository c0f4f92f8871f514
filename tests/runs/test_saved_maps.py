"""Explanations under a key of their own: what changes no map explains nothing again, what does explains anew."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import fervis
from fervis.core.registry import build_plugin
from fervis.runs import inputs, run
from fervis.runs.chunked import chunks

SMALL = ["dataset.per_class_train=1", "dataset.per_class_val=1", "dataset.per_class_test=2", "split=test", "faces=all"]
SMALL += ["quiet=true", "visualizer.dpi=40"]
SHIPPED = ["model.weights=fer2013"]


@pytest.fixture
def explained(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """Rows of the faces of each call that explains."""
    calls: list[list[int]] = []
    explain_faces = run.explain_faces

    def counted(setup: Any, loaded: Any, faces: Any) -> Any:
        calls.append(faces.rows.tolist())
        return explain_faces(setup, loaded, faces)

    monkeypatch.setattr(run, "explain_faces", counted)
    return calls


@pytest.fixture(params=["at once", "in chunks"])
def size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """All faces at once, or three per chunk where more than ten are many."""
    if request.param == "in chunks":
        monkeypatch.setattr(chunks, "CHUNK_SIZE", 3)
        for module in (chunks, run, inputs):
            monkeypatch.setattr(module, "UNCHUNKED_LIMIT", 10)
        monkeypatch.setattr(chunks, "DISPLAYED", 4)
    return request.param


def files_of(folder: Path) -> dict[str, bytes]:
    named = ["arrays.npz", "summary.json", *(f"figures/{path.name}" for path in (folder / "figures").iterdir())]
    return {name: (folder / name).read_bytes() for name in named}


def ask(outputs: Path, *overrides: str) -> Path:
    return fervis.ask([f"outputs={outputs}", *SMALL, *SHIPPED, *overrides])


def test_another_drawing_explains_nothing_again(size: str, explained: list[list[int]], tmp_path: Path):
    first = ask(tmp_path, "layer=conv7")
    assert explained
    before = len(explained)
    for change in ("visualizer.dpi=50", "visualizer.colormap=viridis", "tracker=tensorboard"):
        other = ask(tmp_path, "layer=conv7", change)
        assert len(explained) == before, change
        assert (other / "arrays.npz").read_bytes() == (first / "arrays.npz").read_bytes()
        assert len(list((other / "figures").iterdir())) == len(list((first / "figures").iterdir())) > 0
        assert other != first or change.startswith("tracker")


@pytest.mark.parametrize(
    "changes",
    [
        ["layer=conv6"],
        ["target=happy"],
        ["checkpoint=1"],
        ["faces=per_class:1"],
        ["split=val"],
        ["dataset.seed=5"],
        ["layer=[conv7,conv6]"],
    ],
    ids=lambda changes: changes[0].partition("=")[0] if isinstance(changes, list) else None,
)
def test_what_changes_a_map_explains_again(changes: list[str], explained: list[list[int]], tmp_path: Path):
    ask(tmp_path, "layer=conv7")
    before = len(explained)
    ask(tmp_path, "layer=conv7", *changes)
    assert len(explained) > before


@pytest.mark.parametrize("change", ["seed=1", "explainer.samples=3", "explainer.noise=0.2"])
def test_another_seed_or_setting_of_the_explainer_explains_again(
    size: str, change: str, explained: list[list[int]], tmp_path: Path
):
    question = ["explainer=smoothgrad", "explainer.samples=2"]
    first = ask(tmp_path, *question)
    before = len(explained)
    second = ask(tmp_path, *question, change)
    assert len(explained) > before
    assert (first / "arrays.npz").read_bytes() != (second / "arrays.npz").read_bytes()


NETWORK = """
import torch
from torch import nn

class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 4, 3), nn.Linear(4, 7)

    def forward(self, x):
        return self.head(self.conv(x).{activation}().mean((2, 3)))

def build(**settings):
    return Small()
"""


def test_an_edited_network_of_ones_own_explains_again(explained: list[list[int]], tmp_path: Path):
    path, weights = tmp_path / "small.py", tmp_path / "small.pt"
    path.write_text(NETWORK.format(activation="relu"))
    torch.save({"conv.weight": torch.randn(4, 1, 3, 3), "conv.bias": torch.zeros(4),
                "head.weight": torch.randn(7, 4), "head.bias": torch.zeros(7)}, weights)  # fmt: skip
    question = [f"outputs={tmp_path}", *SMALL, "model=own", f"model.path={path}", f"model.checkpoint={weights}"]
    first = fervis.ask(question)
    arrays, before = (first / "arrays.npz").read_bytes(), len(explained)
    fervis.ask([*question, "visualizer.dpi=50"])
    assert len(explained) == before
    path.write_text(NETWORK.format(activation="tanh"))
    second = fervis.ask([*question, "visualizer.dpi=60"])
    assert len(explained) > before
    assert (second / "arrays.npz").read_bytes() != arrays


@pytest.mark.parametrize(
    "question",
    [
        ["explainer=lime", "explainer.samples=20", "explainer.repeats=1", "target=all"],
        ["explainer=gradcam", "layer=all", "checkpoint=[1,best]"],
        ["explainer=feature_maps", "explainer.filters=3", "layer=[conv1,conv8]"],
        ["explainer=filters", "explainer.filters=2", "explainer.steps=2"],
        ["explainer=top_faces", "explainer.filters=2", "explainer.top=2"],
        ["explainer=confusion", "explainer.resamples=20"],
    ],
    ids=lambda question: question[0],
)
def test_saved_explanations_give_the_same_bytes(question: list[str], explained: list[list[int]], tmp_path: Path):
    folder = ask(tmp_path, *question)
    first, before = files_of(folder), len(explained)
    shutil.rmtree(folder)
    assert ask(tmp_path, *question) == folder
    assert len(explained) == before
    assert files_of(folder) == first
    ask(tmp_path, *question, "rerun=true")
    assert len(explained) > before
    assert files_of(folder) == first


def test_chunks_that_were_saved_serve_a_shard_of_the_same_maps(
    explained: list[list[int]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """A question that differs in its drawing alone is split over jobs and merged without explaining again."""
    from fervis.runs.chunked.merge import merge_runs

    monkeypatch.setattr(chunks, "CHUNK_SIZE", 3)
    for module in (chunks, run, inputs):
        monkeypatch.setattr(module, "UNCHUNKED_LIMIT", 10)
    monkeypatch.setattr(chunks, "DISPLAYED", 4)
    whole = ask(tmp_path, "layer=conv7")
    arrays = (whole / "arrays.npz").read_bytes()
    before = len(explained)
    for number in (1, 2):
        folder = ask(tmp_path, "layer=conv7", "visualizer.dpi=50", f"shard={number}/2")
    assert folder != whole
    assert merge_runs([str(folder)]) == folder
    assert (folder / "arrays.npz").read_bytes() == arrays
    assert all(len(rows) == 1 for rows in explained[before:]), "a face is explained to see how large its map is"


def test_weights_in_memory_decide_and_not_their_name(explained: list[list[int]], tmp_path: Path):
    """Two checkpoints of one path: the second has other weights."""
    path = tmp_path / "weights.pt"
    for seed in (0, 1):
        torch.manual_seed(seed)
        network: nn.Module = build_plugin("model", "vgg8", width=4).build(
            channels=1, size=48, classes=("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
        )
        torch.save(network.state_dict(), path)
        fervis.ask([f"outputs={tmp_path}", *SMALL, "model.width=4", "model.weights=null", f"checkpoint={path}"])
        assert len(explained) == seed + 1
