"""``checkpoint=``: one network or several, from a training, a file or fervis itself."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from support.command import SMALL

from fervis.errors import ConfigError
from fervis.models.pretrained import PRETRAINED_FOLDER, pretrained_epochs
from fervis.runs.checkpoints import parse_checkpoints, saved_epochs, training_history
from fervis.runs.config import RunConfig, compose_config, to_run_config
from fervis.runs.setup import build_run

Run = Callable[..., subprocess.CompletedProcess[str]]


def named(checkpoint: Any, file: Path | None = None, weights: str | None = None):
    question = RunConfig(model={"name": "vgg8", "weights": weights}, checkpoint=checkpoint)
    model: Any = SimpleNamespace(checkpoint=file and str(file))
    return parse_checkpoints(question, model)


def test_what_a_training_gives_has_no_file_yet():
    one, two, three = named(["best", 1, "initial"])
    assert (one.name, one.weights, one.trained) == ("best", None, True)
    assert (two.name, two.spec, two.trained) == ("1", 1, True)
    assert (three.name, three.weights, three.trained) == ("initial", None, False)


def test_a_file_and_shipped_weights(tmp_path: Path):
    path = tmp_path / "mine.safetensors"
    path.touch()
    assert [(one.name, one.weights) for one in named(str(path))] == [("mine", path)]
    assert [one.weights for one in named("best", file=path)] == [path]
    assert [(one.weights, one.shipped) for one in named(["best", 1], weights="fer2013")] == [
        (PRETRAINED_FOLDER / "vgg8-fer2013.safetensors", True),
        (PRETRAINED_FOLDER / "vgg8-fer2013-epoch1.safetensors", True),
    ]
    assert set(pretrained_epochs("vgg8", "fer2013").values()) == {
        PRETRAINED_FOLDER / "vgg8-fer2013.safetensors",
        PRETRAINED_FOLDER / "vgg8-fer2013-epoch1.safetensors",
    }


@pytest.mark.parametrize(
    ("checkpoint", "sentence"),
    [
        ("bst", "checkpoint=bst.*best"),
        (["best", "best"], "a list of different ones"),
        ([], "expected one checkpoint"),
    ],
)
def test_mistakes(checkpoint: Any, sentence: str):
    with pytest.raises(ConfigError, match=sentence):
        named(checkpoint)


def test_a_file_knows_no_epochs(tmp_path: Path):
    with pytest.raises(ConfigError, match="has no epochs"):
        named(3, file=tmp_path / "mine.safetensors")


def test_two_checkpoints_answer_one_question_on_the_same_faces(fervis: Run):
    done = fervis(*SMALL, "explainer=saliency", "checkpoint=[best,initial]")
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.splitlines()[-1])
    both = np.load(folder / "arrays.npz")
    assert both["checkpoints"].tolist() == ["best"] * 7 + ["initial"] * 7
    assert both["rows"][:7].tolist() == both["rows"][7:].tolist()
    for name, half in (("best", slice(0, 7)), ("initial", slice(7, 14))):
        alone = fervis(*SMALL, "explainer=saliency", f"checkpoint={name}")
        arrays = np.load(Path(alone.stdout.splitlines()[-1]) / "arrays.npz")
        assert np.array_equal(both["maps"][half], arrays["maps"]), name
        assert np.array_equal(both["probabilities"][half], arrays["probabilities"]), name
    numbers = json.loads((folder / "summary.json").read_text())["numbers"]
    assert {"best/explained", "initial/explained"} <= set(numbers)


def test_each_epoch_has_an_accuracy_of_its_own(fervis: Run, tmp_path: Path):
    done = fervis(*SMALL, "trainer.epochs=2", "checkpoint=[1,2]", f"outputs={tmp_path}")
    assert done.returncode == 0, done.stderr
    numbers = json.loads((Path(done.stdout.splitlines()[-1]) / "summary.json").read_text())["numbers"]
    (metrics,) = tmp_path.glob("checkpoints/*/metrics.csv")
    header, *rows = [line.split(",") for line in metrics.read_text().split()]
    told = [float(row[header.index("val/accuracy")]) for row in rows]
    assert told[0] != told[1]
    assert [numbers["1/val/accuracy"], numbers["2/val/accuracy"]] == told


def test_a_checkpoint_beside_its_own_copy_differs_in_nothing(fervis: Run, tmp_path: Path):
    outputs = f"outputs={tmp_path / 'outputs'}"
    assert fervis(*SMALL, "explainer=saliency", outputs).returncode == 0
    (saved,) = tmp_path.glob("outputs/checkpoints/*/epoch_001.safetensors")
    copy = tmp_path / "copy.safetensors"
    shutil.copy(saved, copy)
    done = fervis(*SMALL, "explainer=saliency", f"checkpoint=[best,{copy}]", outputs)
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.splitlines()[-1])
    summary = json.loads((folder / "summary.json").read_text())
    for name in ("conv1/cka", "conv8/cka", "input/ssim", "input/spearman", "agreement"):
        assert summary["numbers"][f"best~copy/{name}"] == pytest.approx(1, abs=1e-6), name
    assert summary["numbers"]["best/conv3/black"] == summary["numbers"]["copy/conv3/black"]
    assert "contrast_best_copy.png" in {Path(figure["file"]).name for figure in summary["figures"]}


def test_what_a_training_kept(tmp_path: Path):
    (tmp_path / "epoch_001.safetensors").touch()
    (tmp_path / "epoch_012.safetensors").touch()
    (tmp_path / "metrics.csv").write_text("epoch,train/loss,val/accuracy\n1,1.5,0.25\n2,1.25,0.5\n")
    assert saved_epochs(tmp_path) == {n: tmp_path / f"epoch_{n:03d}.safetensors" for n in (1, 12)}
    assert training_history(tmp_path)[2] == {"train/loss": 1.25, "val/accuracy": 0.5}
    assert training_history(tmp_path / "nothing") == {}


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (
            ["checkpoint=9999", "trainer.epochs=3"],
            r"checkpoint=9999: expected an epoch from 1 to 3 \(trainer\.epochs\)",
        ),
        (
            ["checkpoint=[best,0]", "trainer.epochs=3"],
            r"checkpoint=0: expected an epoch from 1 to 3",
        ),
        (["model.checkpoint=nowhere.pt"], r"checkpoint=nowhere\.pt: there is no such file"),
        (["model.checkpoint=nowhere.pt", "checkpoint=initial"], r"checkpoint=nowhere\.pt: there is no such file"),
        (["model.checkpoint=tests"], r"checkpoint=.*tests"),
    ],
)
def test_what_cannot_exist_is_refused_before_anything_is_loaded(overrides: list[str], sentence: str):
    with pytest.raises(ConfigError, match=sentence):
        build_run(to_run_config(compose_config(overrides)))
