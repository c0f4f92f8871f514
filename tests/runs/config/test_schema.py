"""Values that a config cannot have are refused in one sentence before anything is made or computed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.command import SMALL

from fervis.cli.main import main
from fervis.errors import ConfigError
from fervis.runs.config import RunConfig, compose_config, to_run_config

WRONG = {
    "layer=": r"layer=: expected a layer's name",
    "layer=[]": r"layer=\[\]: expected a layer's name",
    "layer=[conv1,conv1]": r"layer=\[conv1,conv1\]: expected",
    "layer=[[conv1]]": r"layer=.*: expected",
    "faces=": r"faces=: expected row numbers",
    "faces=[1.5]": r"faces=\[1\.5\]: expected row numbers",
    "faces=per_class:0": r"faces=per_class:0: expected row numbers",
    "shard=": r"shard=: expected <number>/<shards>",
    "threads=": r"threads=: expected auto or a whole number",
    "threads=true": r"threads=True: expected auto or a whole number",
    "seed=abc": r"seed=abc: expected a whole number",
    "seed=${oc.env:FERVIS_TEST_WORD}": r"seed=.*: expected a whole number",
    "seed=99999999999999999999": r"seed=99999999999999999999: expected a whole number",
    "checkpoint=2": r"checkpoint=2: expected an epoch from 1 to 1 \(trainer\.epochs\)",
    "checkpoint=[]": r"checkpoint=\[\]: expected best, last",
    "target=": r"target=: expected label",
    "target=input/0": r"target=input/0: filters are those of a layer",
    "split=tset": r"split=tset: there is no such split\. Did you mean test\?",
    "precision=fp8": r"precision=fp8: there is no such precision",
    "device=tpu9": r"device=tpu9: this machine cannot use it",
    "outputs=": r"outputs=: expected a folder",
    "~tracker": r"~tracker: every question has tracker=; choose one, such as tracker=none",
    "~model": r"~model: every question has model=; choose one",
    "explainer.name=[a]": r"explainer\.name=\[a\]: expected the name of one explainer",
    "explainer.name=salency": r"explainer=salency: there is no such explainer",
    "parts=[1]": r"parts=\[1\]: expected a list of parts",
    "against=sad": r"against=sad: explainer=saliency contrasts .* expected explainer=confused or finer\.",
    "agianst=sad": r"agianst: there is no such key\. Did you mean against\?",
    "+sead=1": r"\+sead=1: there is no such key\. Did you mean seed\?",
}


@pytest.mark.parametrize("override", list(WRONG))
def test_a_wrong_value_is_refused_before_a_folder_is_made(
    override: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FERVIS_TEST_WORD", "word")
    arguments = [*SMALL, override]
    monkeypatch.setattr("sys.argv", ["fervis", *arguments])
    assert main(arguments) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert re.search(WRONG[override], lines[0]), lines[0]
    assert not (tmp_path / "outputs" / "runs").exists()


def test_a_wrong_job_of_a_sweep_fails_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    arguments = ["-m", *SMALL, "model.width=2", "checkpoint=1,9"]
    monkeypatch.setattr("sys.argv", ["fervis", *arguments])
    assert main(arguments) == 2
    assert "1 of 2 jobs failed, the first with: checkpoint=9: expected an epoch from 1 to 1" in capsys.readouterr().err
    assert len([*tmp_path.glob("outputs/sweeps/*/*/summary.json")]) == 1
    assert len([*tmp_path.glob("outputs/sweeps/*/refused-*/failure.json")]) == 1


def test_names_of_layers_are_text_as_those_of_a_sequential_are_numbers():
    assert to_run_config(compose_config(["layer=0"])).layer == "0"
    assert to_run_config(compose_config(["layer=[0,2]"])).layer == ["0", "2"]


def test_a_config_read_back_from_plain_data_is_the_same():
    config = to_run_config(compose_config(["layer=[conv1,conv2]", "seed=3", "model=resnet18"]))
    assert RunConfig.from_plain(config.plain()) == config
    with pytest.raises(ConfigError, match="colour: there is no such key"):
        RunConfig.from_plain({**config.plain(), "colour": "red"})


def test_against_is_a_setting_of_the_explainers_that_have_it():
    for override in ("against=sad", "explainer.against=sad"):
        config = to_run_config(compose_config(["explainer=confused", "target=fear", override]))
        assert config.explainer["against"] == "sad"
        assert "against" not in config.plain()
        assert RunConfig.from_plain(config.plain()) == config
    assert to_run_config(compose_config(["explainer=finer", "against=[sad,fear]"])).explainer["against"] == [
        "sad",
        "fear",
    ]
    assert to_run_config(compose_config(["explainer=finer"])).explainer["against"] == "similar"
    with pytest.raises(ConfigError, match=r"against=\[sad,fear\]: explainer=lime contrasts its target"):
        to_run_config(compose_config(["explainer=lime", "against=[sad,fear]"]))
