"""A study: several questions in one folder, the reader's own overrides for all of them, the same bytes twice."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from support.command import SMALL

import fervis
from fervis.core import registry
from fervis.errors import ConfigError, RunError
from fervis.runs.study import Part, study_parts

PRESET = """# a small study
parts:
  - {title: Pixels, ask: [explainer=saliency, layer=input], figures: {"fig1_{}.jpg": "[0-9]*.png"}}
  - {title: Deep, ask: [explainer=saliency, layer=conv7], figures: {fig2.png: overview.png}}
"""


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Ask a small study with a network before training."""

    def run(*overrides: str, preset: str = PRESET) -> Path:
        (tmp_path / "small.yaml").write_text(preset)
        monkeypatch.setattr(registry, "EXPERIMENTS_FOLDER", tmp_path)
        faces = SMALL[:3]
        return fervis.ask([*faces, "experiment=small", "checkpoint=initial", f"outputs={tmp_path}/out", *overrides])

    return run


def test_own_overrides_win_and_are_told_once():
    part = Part("Pixels", ("experiment=q1_saliency", "layer=input", "seed=3"), {})
    asked = part.overrides(["experiment=study", "layer=conv5", "model=resnet18", "rerun=true", "hydra.run.dir=x"])
    assert asked == ["experiment=q1_saliency", "seed=3", "layer=conv5", "model=resnet18"]


def test_parts_are_checked():
    with pytest.raises(ConfigError, match=r"part 1 has title; expected title, ask, figures"):
        study_parts([{"title": "a"}])
    part = {"title": "a", "ask": [], "figures": {"x.png": "*"}}
    with pytest.raises(ConfigError, match=r"x\.png is kept by two parts"):
        study_parts([part, part])


def test_a_study_gathers_its_figures_and_is_the_same_twice(
    ask: Callable[..., Path], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    folder = ask()
    files = sorted(path.name for path in (folder / "figures").iterdir())
    assert files == [*(f"fig1_{number}.jpg" for number in range(7)), "fig2.png"]
    summary = json.loads((folder / "summary.json").read_text())
    assert [figure["section"] for figure in summary["figures"]] == ["Pixels"] * 7 + ["Deep"]
    assert [part["title"] for part in summary["sections"]] == ["Pixels", "Deep"]
    page = (folder / "report.html").read_text()
    assert page.index("<h2>Pixels</h2>") < page.index("<h2>Deep</h2>")
    assert page.count("data:image/jpeg;base64") == 7
    once = {path.name: path.read_bytes() for path in (folder / "figures").iterdir()}
    assert ask("rerun=true") == folder
    assert {path.name: path.read_bytes() for path in (folder / "figures").iterdir()} == once
    monkeypatch.setattr(logging.getLogger("fervis"), "propagate", True)
    with caplog.at_level("INFO"):
        ask()
    assert "answered before" in caplog.text


def test_the_readers_own_override_reaches_every_part(ask: Callable[..., Path]):
    folder = ask("faces=per_class:2")
    assert len(list((folder / "figures").glob("fig1_*.jpg"))) == 14


def test_a_figure_that_no_part_draws_is_named_and_nothing_is_left(ask: Callable[..., Path], tmp_path: Path):
    with pytest.raises(RunError, match=r"has no figure overwiev\.png to be fig2\.png; it has overview\.png"):
        ask(preset=PRESET.replace("overview.png", "overwiev.png"))
    (folder,) = (tmp_path / "out/runs").glob("vgg8-small-*")
    assert not (folder / "summary.json").exists()
    assert not list(folder.rglob("*.jpg"))
