"""Completion: the candidates, how soon they are there, and what real shells make of them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support.command import ROOT

from fervis.cli.command_table import COMMANDS
from fervis.cli.completion import LAYER_NAMES, SHELLS, candidates, completion, documented_values
from fervis.core.layers import list_layers
from fervis.core.registry import KINDS, build_plugin, names
from fervis.errors import ConfigError


def names_of(*words: str) -> list[str]:
    return list(candidates(words[:-1], words[-1]))


def test_first_words():
    first = names_of("")
    assert {*COMMANDS, *(f"{kind}=" for kind in KINDS), "experiment=", "layer=", "seed="} <= {*first}
    assert "list" not in names_of("layer=conv1", "")
    assert names_of("expla") == ["explainer="]
    assert names_of("explainer") == ["explainer=", "explainer."]
    assert names_of("--qu") == ["--quiet"]
    assert names_of("--cfg", "j") == ["job"]
    assert names_of("clean", "--") == ["--yes", "--dry-run"]
    assert names_of("clean", "ca") == ["cache"]
    assert names_of("completion", "") == list(SHELLS)
    assert names_of("list", "mod") == ["model"]
    assert names_of("clean", "loc") == [], "locks are removed where they are named, and by all"
    assert names_of("wandb-report", "--s") == ["--save"]


def test_options_and_their_settings():
    assert names_of("explainer=") == [f"explainer={name}" for name in names("explainer")]
    assert names_of("experiment=q1_s") == ["experiment=q1_saliency"]
    assert names_of("explainer=lime", "explainer.superp") == ["explainer.superpixels="]
    assert names_of("explainer.superp") == [], "saliency has no superpixels"
    assert names_of("trainer=standard", "trainer.balance=") == [
        f"trainer.balance={v}" for v in ("none", "loss", "sampling")
    ]
    assert names_of("+trainer.bal") == ["+trainer.balance="]
    assert names_of("train", "trainer.flip=") == ["trainer.flip=true", "trainer.flip=false"]
    assert candidates(["explainer=lime"], "explainer.alp") == {"explainer.alpha=": "of the ridge regression"}


def test_the_last_value_of_a_list_or_sweep():
    convolutions = [f"conv{number}" for number in range(1, 9)]
    assert names_of("layer=conv") == [f"layer={name}" for name in convolutions]
    assert names_of("-m", "layer=relu1,conv") == [f"layer=relu1,{name}" for name in convolutions]
    assert names_of("layer=[relu1,conv8") == []
    assert names_of("layer=[relu1,conv") == [f"layer=[relu1,{name}" for name in convolutions]
    assert "layer=stage4" in names_of("model=resnet18", "layer=stage")
    assert names_of("model=timm", "layer=") == [
        "layer=input",
        "layer=last_conv",
        "layer=last_map",
        "layer=all",
        "layer=each",
    ]
    assert "explainer=lime,saliency" in names_of("explainer=lime,sal")


def test_paths(tmp_path: Path):
    (tmp_path / "faces").mkdir()
    (tmp_path / "face.csv").write_text("")
    (tmp_path / ".hidden").write_text("")
    assert names_of(f"dataset.path={tmp_path}/") == [
        f"dataset.path={tmp_path}/{name}" for name in ("face.csv", "faces/")
    ]
    assert names_of("report", f"{tmp_path}/faces") == [f"{tmp_path}/faces/"]
    assert names_of("dataset.path=/nowhere/at/all/") == []


def test_values_that_a_comment_tells():
    assert documented_values("auto", "auto | cpu | cuda:1 | mps") == ["auto", "cpu", "cuda:1", "mps"]
    assert documented_values("auto", "label | a class name or number | <layer>/<filter>; auto: what") == [
        "auto",
        "label",
    ]
    assert documented_values(0.1, "highest learning rate") == ["0.1"]
    assert documented_values(None, "a file") == []


@pytest.mark.parametrize("model", ["vgg8", "mini_xception", "resnet18"])
def test_the_layer_names_that_are_kept_are_those_of_the_network(model: str):
    network = build_plugin("model", model).build(channels=1, size=48, classes=tuple("abcdefg")).eval()
    found = [layer.name for layer in list_layers(network, torch.zeros(1, 1, 48, 48))]
    assert json.loads(LAYER_NAMES.read_text())[model] == found, (
        f"{LAYER_NAMES.name}: its names of {model} are to be {found}"
    )


def test_an_unknown_shell():
    with pytest.raises(ConfigError, match="Did you mean bash"):
        completion(["bush"])


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which ``fervis`` is this checkout's."""
    folder = tmp_path_factory.mktemp("bin")
    script = folder / "fervis"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m fervis "$@"\n')
    script.chmod(0o755)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}


def test_a_tab_waits_for_no_library(shell: dict[str, str]):
    code = (
        "import sys; sys.argv = ['fervis', 'completion', 'query', 'layer=conv']\n"
        "from fervis.__main__ import main\n"
        "main()\n"
        "print('heavy:', sorted({'torch', 'hydra', 'omegaconf', 'numpy', 'tqdm'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=shell, timeout=60)
    assert done.stdout.splitlines() == [*(f"layer=conv{n}" for n in range(1, 9)), "heavy: []"], done.stderr


BY_BASH = 'eval "$(fervis completion bash)"; COMP_LINE=$1; COMP_POINT=$2; _fervis; printf "%s\\n" "${COMPREPLY[@]}"'


@pytest.mark.skipif(not shutil.which("bash"), reason="no bash here")
@pytest.mark.parametrize(
    ("line", "replies"),
    [
        ("fervis layer=conv", [f"conv{number}" for number in range(1, 9)]),
        ("fervis -m layer=relu1,conv", [f"relu1,conv{number}" for number in range(1, 9)]),
        ("fervis explainer=lime explainer.superp", ["explainer.superpixels="]),
        ("fervis device=cuda:", ["1"]),
        ("fervis clean ca", ["cache"]),
        ("fervis cle", ["clean"]),
    ],
)
def test_bash(line: str, replies: list[str], shell: dict[str, str]):
    asked = ["bash", "--norc", "-c", BY_BASH, "bash", line + " and more", str(len(line))]
    done = subprocess.run(asked, capture_output=True, text=True, env=shell, timeout=60)
    assert done.stdout.splitlines() == replies, done.stderr


@pytest.mark.skipif(not shutil.which("zsh"), reason="no zsh here")
def test_zsh(shell: dict[str, str]):
    code = (
        'compdef() { :; }; compadd() { print -r -- "$@"; }; eval "$(fervis completion zsh)"\n'
        "words=(fervis model=resnet18 explaine); CURRENT=3; _fervis; words=(fervis device=cu); CURRENT=2; _fervis"
    )
    done = subprocess.run(["zsh", "-f", "-c", code], capture_output=True, text=True, env=shell, timeout=60)
    assert done.stdout.splitlines() == ["-S  -- explainer=", "-- device=cuda device=cuda:1"], done.stderr


@pytest.mark.skipif(not shutil.which("fish"), reason="no fish here")
def test_fish(shell: dict[str, str], tmp_path: Path):
    code = 'fervis completion fish | source; complete -C "fervis explainer=lime explainer.alp"'
    environment = {**shell, "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)}
    done = subprocess.run(["fish", "-c", code], capture_output=True, text=True, env=environment, timeout=60)
    assert done.stdout.splitlines() == ["explainer.alpha=\tof the ridge regression"], done.stderr
