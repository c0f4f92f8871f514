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
from fervis.runs.config import compose_config, to_run_config
from fervis.runs.study.overrides import PartRun, assign_overrides, plan_parts
from fervis.runs.study.parts import Part, study_parts

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


STUDY = ["experiment=study"]
INPUT, FILTERS, MAPS, LIME, CONFUSION, CHECKPOINTS = range(6)


def parts_of_the_study() -> list[Part]:
    return study_parts(to_run_config(compose_config(STUDY)).parts)


def assigned(*own: str) -> list[PartRun]:
    return assign_overrides(parts_of_the_study(), [*STUDY, *own])


def test_without_overrides_each_part_is_asked_as_its_preset_says():
    runs = assigned()
    assert [list(run.overrides) for run in runs] == [list(part.ask) for part in parts_of_the_study()]


def test_faces_without_a_split_are_those_of_the_studys_split_in_every_part_that_explains_faces():
    runs = assigned("dataset=fer2013", "dataset.path=x.csv", "faces=[1,2,3]")
    asked = {number: (run.config.split, run.config.faces) for number, run in enumerate(runs)}
    for number in (INPUT, MAPS, LIME, CHECKPOINTS):
        assert asked[number] == ("train", [1, 2, 3])
    assert asked[FILTERS] == asked[CONFUSION] == ("test", "auto"), "neither is about chosen faces"
    assert {run.config.split for run in assigned("faces=[1]", "split=val")} == {"val"}


def test_a_layer_goes_to_the_parts_whose_explainer_uses_layers():
    runs = assigned("layer=conv5")
    assert [run.config.layer for run in runs] == ["conv5", "conv5", "conv5", None, None, "conv5"]


def test_a_setting_goes_to_the_parts_that_have_it():
    runs = assigned("explainer.filters=[0,1,2]", "explainer.samples=100", "visualizer.opacity=0.3")
    assert [run.config.explainer.get("filters") for run in runs] == [None, [0, 1, 2], [0, 1, 2], None, None, [0, 1, 2]]
    assert [run.config.explainer.get("samples") for run in runs] == [None, None, None, 100, None, None]
    with pytest.raises(ConfigError, match=r"explainer\.smaples=1: .* Did you mean explainer\.samples\?"):
        assigned("explainer.smaples=1")


def test_a_contrast_goes_to_the_parts_whose_explainer_makes_one():
    asked = [{"title": name, "ask": [f"explainer={name}"], "figures": {}} for name in ("finer", "saliency")]
    runs = assign_overrides(study_parts(asked), ["against=sad"])
    assert [run.overrides for run in runs] == [("explainer=finer", "against=sad"), ("explainer=saliency",)]
    with pytest.raises(ConfigError, match="against=sad: no part of the study takes against="):
        assigned("against=sad")


def test_the_part_that_compares_checkpoints_keeps_them():
    runs = assigned("checkpoint=last")
    assert [run.config.checkpoint for run in runs] == ["last"] * 5 + [["best", 1]]


@pytest.fixture
def plan(tmp_path: Path) -> Callable[..., list[PartRun]]:
    def planned(*own: str) -> list[PartRun]:
        return plan_parts(parts_of_the_study(), [*STUDY, *SMALL[:3], f"outputs={tmp_path}", *own])

    return planned


def test_filters_of_a_preset_that_the_network_lacks_are_left_out(plan: Callable[..., list[PartRun]]):
    runs = plan("model=mini_xception")
    assert runs[FILTERS].config.explainer.filters == [4, 6], "of conv7's 16 filters"
    runs = plan("model=vgg8", "model.width=4")
    assert runs[FILTERS].config.explainer.filters == [4, 6, 18, 20, 21, 22, 24, 25]


def test_layers_of_a_preset_that_the_network_lacks_become_the_explainers_own(
    plan: Callable[..., list[PartRun]], tmp_path: Path
):
    (tmp_path / "net.py").write_text(
        "from torch import nn\n"
        "def build():\n"
        "    return nn.Sequential(nn.Conv2d(1, 9, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), "
        "nn.Linear(9, 7))"
    )
    runs = plan("model=own", f"model.path={tmp_path}/net.py")
    assert [run.config.layer for run in runs] == ["input", None, None, None, None, None]
    assert runs[FILTERS].config.explainer.filters == [4, 6]


@pytest.mark.parametrize(
    ("own", "sentence"),
    [
        ("layer=conv99", r"part 1 of the study .*layer=conv99: there is no such layer"),
        ("explainer.filters=[0,999]", r"part 2 of the study .*explainer\.filters=999: conv7 has"),
        ("faces=[999999]", r"part 1 of the study .*faces=999999"),
        ("target=hapy", r"part 1 of the study .*Did you mean happy"),
        ("trainer.epochs=0", r"part 1 of the study .*trainer\.epochs=0"),
        ("explainer.samples=0", r"part 4 of the study .*explainer\.samples=0"),
    ],
)
def test_mistakes_are_found_before_the_first_part(plan: Callable[..., list[PartRun]], own: str, sentence: str):
    with pytest.raises(ConfigError, match=sentence):
        plan(own)


def test_a_small_study_with_overrides_runs_to_its_end(ask: Callable[..., Path]):
    preset = PRESET + "  - {title: Lime, ask: [explainer=lime], figures: {fig3.png: overview.png}}\n"
    folder = ask(
        "layer=conv5", "explainer.samples=20", "faces=[350,351]", preset=preset.replace("layer=input", "seed=1")
    )
    sections = json.loads((folder / "summary.json").read_text())["sections"]
    assert [section["run"].rsplit("-", 1)[0] for section in sections] == [
        *("vgg8-saliency-conv5", "vgg8-saliency-conv5", "vgg8-lime")
    ]


def test_a_filter_that_does_not_exist_is_refused_before_a_training(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"explainer\.filters=99: conv3 has 32 filters, numbered from 0"):
        fervis.ask([*SMALL, "explainer=filters", "layer=conv3", "explainer.filters=[99]", f"outputs={tmp_path}"])
    assert not list(tmp_path.glob("checkpoints/*/*.safetensors"))
