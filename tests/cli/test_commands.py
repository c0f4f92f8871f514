"""The command as a user types it: answers, mistakes, sweeps, interruptions, plug-ins of one's own."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.command import ROOT, SMALL
from support.wandb_file import read
from torch.nn import functional as F

import fervis as door
from fervis.core.registry import build_plugin
from fervis.models.state_dicts import load_weights

Run = Callable[..., subprocess.CompletedProcess[str]]


def folder_of(done: subprocess.CompletedProcess[str]) -> Path:
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def answered(fervis: Run) -> Path:
    return folder_of(fervis(*SMALL, "explainer=saliency", "layer=conv7"))


def test_an_answer_is_a_whole_folder(answered: Path):
    names = sorted(path.name for path in answered.iterdir() if path.name != ".fervis")
    assert names == [
        "arrays.npz",
        "config.yaml",
        "figures",
        "manifest.json",
        "report.html",
        "summary.json",
        "tracker_table.npz",
    ]
    summary = json.loads((answered / "summary.json").read_text())
    assert summary["title"] == "saliency at conv7 of vgg8 on synthetic"
    assert len(summary["entries"]) == 7
    assert summary["numbers"]["explained"] == 7
    maps = np.load(answered / "arrays.npz")["maps"].reshape(7, -1).astype(np.float64)
    tenth = np.mean([np.sort(one)[-230:].sum() / one.sum() for one in maps])
    assert summary["numbers"]["strongest_tenth"] == pytest.approx(tenth, rel=1e-9)
    for figure in summary["figures"]:
        assert (answered / figure["file"]).is_file()
        assert figure["caption"]
    manifest = json.loads((answered / "manifest.json").read_text())
    assert manifest["command"] == "python -m fervis " + " ".join([*SMALL, "explainer=saliency", "layer=conv7"])
    assert manifest["versions"]["torch"] == torch.__version__
    assert set(manifest["hashes"]) == {"config", "data", "weights"}


def test_the_arrays_are_those_of_autograd_on_the_kept_network(answered: Path, fervis: Run):
    arrays = np.load(answered / "arrays.npz")
    outputs = answered.parent.parent
    faces = build_plugin("dataset", "faces", per_class_train=40, per_class_val=10, per_class_test=4).load(
        outputs / "cache"
    )
    (trained,) = (path for path in (outputs / "checkpoints").iterdir() if (path / "epoch_001.safetensors").is_file())
    network = build_plugin("model", "vgg8").build(channels=1, size=48, classes=faces.classes)
    load_weights(network, trained / "epoch_001.safetensors")
    network.eval()
    at = {int(row): position for position, row in enumerate(faces.rows)}
    pixels = (faces.images[[at[row] for row in arrays["rows"].tolist()]].float() / 255).requires_grad_()
    kept: list[torch.Tensor] = []
    network.body.conv7.register_forward_hook(lambda _m, _i, output: kept.append(output))
    logits = network(pixels)
    score = logits.gather(1, torch.from_numpy(arrays["labels"])[:, None]).sum()
    layer, pixel = torch.autograd.grad(score, [kept[0], pixels])
    expected = F.interpolate(layer.abs().amax(1, keepdim=True), (48, 48), mode="bilinear")[:, 0]
    assert arrays["maps"].dtype == np.float32
    np.testing.assert_allclose(arrays["maps"], expected.numpy(), rtol=0, atol=1e-6)
    np.testing.assert_allclose(arrays["pixel_maps"], pixel.abs().amax(1).numpy(), rtol=0, atol=1e-6)
    np.testing.assert_allclose(arrays["probabilities"], logits.detach().softmax(1).numpy(), rtol=0, atol=1e-6)
    assert arrays["labels"].tolist() == list(range(7)), "one face of each class, in class order"
    assert set(arrays["layers"]) == {"conv7"}


def test_the_same_question_finds_the_same_answer(answered: Path, fervis: Run):
    before = (answered / "summary.json").stat().st_mtime_ns
    again = fervis(*SMALL, "explainer=saliency", "layer=conv7")
    assert folder_of(again) == answered
    assert "answered before" in again.stderr
    assert (answered / "summary.json").stat().st_mtime_ns == before
    arrays = (answered / "arrays.npz").read_bytes()
    assert folder_of(fervis(*SMALL, "explainer=saliency", "layer=conv7", "rerun=true")) == answered
    assert (answered / "summary.json").stat().st_mtime_ns > before
    assert (answered / "arrays.npz").read_bytes() == arrays, "the same bytes"


def test_python_asks_as_the_command_does(answered: Path, fervis: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(answered.parent.parent.parent)
    assert door.ask([*SMALL, "explainer=saliency", "layer=conv7"]).resolve() == answered
    with pytest.raises(door.ConfigError, match="Did you mean saliency"):
        door.ask(["explainer=salency"])
    assert "saliency" in door.names("explainer")


def test_several_layers_and_all_classes(answered: Path, fervis: Run):
    done = fervis(*SMALL, "layer=[conv7,input]", "target=all", "faces=[301,300]", "split=all")
    arrays = np.load(folder_of(done) / "arrays.npz")
    assert arrays["maps"].shape == (2 * 2 * 7, 48, 48)
    assert arrays["rows"].tolist() == ([301] * 7 + [300] * 7) * 2
    assert arrays["layers"].tolist() == ["conv7"] * 14 + ["input"] * 14
    assert arrays["targets"].tolist() == list(arrays["classes"]) * 4
    np.testing.assert_array_equal(arrays["pixel_maps"][:14], arrays["maps"][14:])


MISTAKES = [
    ("explainer=salency", "explainer=salency: there is no such explainer. Did you mean saliency?"),
    ("model=vg8", "model=vg8: there is no such model. Did you mean vgg8?"),
    ("experiment=q1_salency", "experiment=q1_salency: there is no such experiment. Did you mean q1_saliency?"),
    ("layr=conv7", "layr: there is no such key. Did you mean layer?"),
    ("seed=x", "seed=x: expected a whole number."),
    ("lst", "lst: expected key=value, or one of list"),
    ("dataset.pth=x", "dataset.pth: there is no such setting."),
    ("trainer.epoch=2", "trainer.epoch: there is no such setting. Did you mean epochs?"),
    ("layer=cnv7", "layer=cnv7: there is no such layer. Did you mean conv7?"),
    ("target=hapy", "target=hapy: there is no such target. Did you mean happy?"),
    ("target=conv7/128", "target=conv7/128: conv7 has 128 filters"),
    ("split=tran", "split=tran: there is no such split. Did you mean train?"),
    ("faces=[3]", "faces=3: split=test has no such row; it is in split=train."),
    ("faces=few", "faces=few: expected row numbers such as [0,299,5], per_class:<n>, all or auto."),
    ("trainer.epochs=x", "trainer.epochs=x: Value 'x' of type 'str' could not be converted to Integer."),
    ("trainer.epochs=0", "trainer.epochs=0: expected a whole number from 1."),
    ("checkpoint=bset", "checkpoint=bset: there is no such checkpoint. Did you mean best?"),
    ("model.checkpoint=nowhere.safetensors", "nowhere.safetensors"),
    ("precision=fp8", "precision=fp8: there is no such precision."),
    ("device=gpu", "device=gpu: this machine cannot use it"),
]


@pytest.mark.parametrize(("argument", "sentence"), MISTAKES)
def test_a_mistake_gets_one_sentence_and_exit_code_2(answered: Path, fervis: Run, argument: str, sentence: str):
    before = sorted(path.name for path in answered.parent.iterdir())
    done = fervis(*(SMALL if not argument.startswith("trainer") else SMALL[:-1]), argument, "rerun=true")
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if "trained before" not in line]
    assert len(lines) == 1, done.stderr
    assert sentence in lines[0]
    assert sorted(path.name for path in answered.parent.iterdir()) == before, "no folder is left behind"


def test_a_traceback_only_where_it_is_asked_for(fervis: Run):
    assert "Traceback" in fervis("seed=x", FERVIS_TRACEBACK="1").stderr


def test_train_tells_what_the_network_is_worth(answered: Path, fervis: Run):
    done = fervis("train", *SMALL)
    folder = folder_of(done)
    assert "trained before" in done.stderr, "the answer's network is the one that train knows"
    assert (folder / "card.md").is_file()
    assert "accuracy [95 %]" in done.stdout
    assert folder_of(fervis("train", *SMALL)) == folder


def test_wandb_records_the_config_a_number_and_the_very_picture(answered: Path, fervis: Run):
    done = fervis(*SMALL, "-m", "layer=conv7", "tracker=wandb", "tracker.mode=offline", "hydra.sweep.dir=swept")
    folder = folder_of(done)
    (path,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    run = read(path)
    group = hashlib.sha256(b"swept").hexdigest()[:8]  # so that the same question alone is another run
    assert (run.id, run.name, run.group) == (f"{folder.name.rpartition('-')[2]}-{group}", folder.name, "swept")
    assert run.config["trainer"]["epochs"] == 1
    assert run.config["layer"] == "conv7"
    summary = json.loads((folder / "summary.json").read_text())
    assert run.summary["explained/accuracy"] == pytest.approx(summary["numbers"]["explained/accuracy"])
    assert run.exit_code == 0
    (shown,) = [row["overview"] for row in run.rows if "overview" in row]
    assert (path.parent / "files" / shown["path"]).read_bytes() == (folder / "figures" / "overview.png").read_bytes()


def test_a_photo_is_explained_by_the_shipped_network_without_training(fervis: Run, tmp_path: Path):
    from skimage.data import astronaut

    (tmp_path / "photos").mkdir()
    Image.fromarray(astronaut()).save(tmp_path / "photos" / "portrait.png")
    done = fervis("explainer=saliency", "layer=conv7", "dataset=photos", "dataset.path=photos", cwd=tmp_path)
    arrays = np.load(folder_of(done) / "arrays.npz")
    assert arrays["maps"].shape == (1, 48, 48)
    assert arrays["labels"].tolist() == [-1]
    assert arrays["targets"][0] == arrays["classes"][arrays["predictions"][0]]
    assert not (tmp_path / "outputs" / "checkpoints").exists()
    first = fervis("dataset=photos", "dataset.path=photos", "checkpoint=1", cwd=tmp_path)
    other = np.load(folder_of(first) / "arrays.npz")
    assert not np.allclose(other["probabilities"], arrays["probabilities"])


def test_audit(answered: Path, fervis: Run):
    counted = fervis("audit", *SMALL).stdout
    assert "280" in counted
    assert "surprise" in counted


def test_list_and_layers(fervis: Run):
    listed = fervis("list").stdout
    assert all(name in listed for kind in ("dataset", "model", "explainer", "tracker") for name in door.names(kind))
    layers = fervis("layers", *SMALL, "model.width=4").stdout.splitlines()
    assert sum(line.startswith("conv") for line in layers) == 8


def test_a_sweep_resumes_and_does_only_what_is_missing(fervis: Run, answered: Path):
    command = [*SMALL, "-m", "layer=conv1,conv7"]
    first = fervis(*command)
    assert first.returncode == 0, first.stderr
    one, two = map(Path, first.stdout.splitlines())
    assert one.parent == two.parent != answered.parent
    (one / "summary.json").unlink()
    times = (two / "arrays.npz").stat().st_mtime_ns
    again = fervis(*command)
    assert list(map(Path, again.stdout.splitlines())) == [one, two]
    assert again.stderr.count("answered before") == 1
    assert (one / "summary.json").is_file()
    assert (two / "arrays.npz").stat().st_mtime_ns == times


def test_a_failing_job_does_not_stop_the_others_and_is_told_in_its_folder(fervis: Run, answered: Path):
    done = fervis(*SMALL, "-m", "layer=cnv1,conv1")
    assert done.returncode == 2
    (whole,) = map(Path, done.stdout.splitlines())
    assert "1 of 2 jobs failed" in done.stderr
    assert "Did you mean conv1?" in done.stderr
    (failure,) = whole.parent.glob("*/failure.json")
    told = json.loads(failure.read_text())
    assert "Did you mean conv1?" in told["error"]
    assert told["overrides"] == [*SMALL, "layer=cnv1"]
    page = (whole.parent / "index.html").read_text()
    assert "Did you mean conv1?" in page
    assert whole.name in page
    rebuilt = fervis("report", str(whole.parent))
    assert rebuilt.stdout.splitlines() == [str(whole.parent / "index.html")]
    assert fervis("report", str(whole.parent / "nothing")).returncode == 2


def test_what_failed_once_is_forgotten_when_it_succeeds(fervis: Run, answered: Path):
    command = [*SMALL, "-m", "layer=conv2,conv3"]
    (whole, _) = map(Path, fervis(*command).stdout.splitlines())
    (whole / "summary.json").unlink()
    (whole / "failure.json").write_text(json.dumps({"error": "the disk was full", "code": 1, "overrides": []}))
    again = fervis(*command)
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("answered before") == 1
    assert not (whole / "failure.json").exists()
    assert "the disk was full" not in (whole.parent / "index.html").read_text()


def test_each_layer_is_a_job_of_its_own(fervis: Run, answered: Path):
    done = fervis(*SMALL, "model.width=4", "checkpoint=initial", "-m", "layer=each", "faces=[0]", "split=all")
    assert done.returncode == 0, done.stderr
    folders = list(map(Path, done.stdout.splitlines()))
    assert [str(np.load(folder / "arrays.npz")["layers"][0]) for folder in folders] == [f"conv{n}" for n in range(1, 9)]
    assert len({folder.parent for folder in folders}) == 1
    assert folders[0].parent.name.startswith("layer-")
    assert "ask with -m" in fervis(*SMALL, "layer=each").stderr
    assert "of several networks" in fervis(*SMALL, "-m", "layer=each", "model=vgg8,resnet18").stderr


def test_two_processes_with_one_question_do_the_work_once(tmp_path: Path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "fervis", *SMALL, "layer=conv7"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    both = [subprocess.Popen(command, cwd=tmp_path, env=environment, text=True, **pipes) for _ in range(2)]
    told = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    assert sum("answered before" in errors for _, errors in told) == 1
    assert sum("training on" in errors for _, errors in told) == 1
    assert told[0][0] == told[1][0]


@pytest.mark.parametrize("delay", [0.5, 1.5, 2.5, 3.5, 5.0])
def test_killed_at_any_moment_nothing_half_written_is_taken_for_an_answer(tmp_path: Path, answered: Path, delay: float):
    shutil.copytree(answered.parent.parent / "cache", tmp_path / "outputs" / "cache")
    command = [sys.executable, "-m", "fervis", *SMALL, "-m", "layer=conv1,conv7", "visualizer.dpi=60"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    for folder in map(Path, done.stdout.splitlines()):
        whole, killed = ({path.name for path in each.iterdir()} - {".fervis"} for each in (answered, folder))
        assert killed == whole
        np.load(folder / "arrays.npz")["maps"]
    last = np.load(Path(done.stdout.splitlines()[-1]) / "arrays.npz")["maps"]
    np.testing.assert_array_equal(last, np.load(answered / "arrays.npz")["maps"])
