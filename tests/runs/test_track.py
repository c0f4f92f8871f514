"""What a tracker is told of an answer: all that its folder holds, once."""

from __future__ import annotations

import dataclasses
import json
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from matplotlib import colormaps
from numpy.typing import NDArray

from fervis.core.faces import Faces
from fervis.core.protocols import ImageRow, RunInfo
from fervis.core.results import Confusion, Explanation, Figure, HeatMaps
from fervis.errors import ConfigError
from fervis.runs import track
from fervis.runs.artifacts import run_arrays, run_summary
from fervis.runs.config import RunConfig
from fervis.runs.image_table import write_image_table
from fervis.runs.track import track_command, track_existing_run, track_run

CLASSES = ("sad", "happy")


class Notes:
    """A tracker that writes down what it is told."""

    def __init__(self) -> None:
        self.said: dict[str, list[Any]] = {}

    def _note(self, word: str, what: Any) -> None:
        self.said.setdefault(word, []).append(what)

    def start(self, run: RunInfo) -> None:
        self._note("start", run)

    def log_metrics(self, metrics: Mapping[str, float], epoch: int | None = None) -> None:
        self._note("log_metrics", (dict(metrics), epoch))

    def log_figure(self, name: str, figure: Figure) -> None:
        assert figure.path.is_file()
        self._note("log_figure", (name, figure.caption))

    def log_images(self, rows: Sequence[ImageRow]) -> None:
        self._note("log_images", list(rows))

    def log_confusion(self, name: str, counts: NDArray[np.int64], classes: Sequence[str]) -> None:
        self._note("log_confusion", (name, counts.tolist(), list(classes)))

    def log_artifact(self, name: str, kind: str, files: Mapping[str, Path]) -> None:
        assert all(path.is_file() for path in files.values())
        self._note("log_artifact", (name, kind, sorted(files)))

    def finish(self, ok: bool) -> None:
        self._note("finish", ok)


def faces(count: int) -> Faces:
    """Faces of rows 100 and on; the first has no label."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 1, 6, 6), generator=generator, dtype=torch.uint8)
    labels = torch.arange(count) % 2
    labels[0] = -1
    return Faces(images, labels, torch.arange(100, 100 + count), torch.full((count,), 2, dtype=torch.uint8), CLASSES)


def answered(folder: Path, result: Any, of: Faces, *, checkpoints: tuple[str, ...] | None = None) -> RunInfo:
    """An answer kept in a folder, of entries about these faces."""
    question = RunConfig(tracker={"name": "notes", "project": "fervis"})
    card = RunInfo("vgg8-saliency-1a2b3c4d", "1a2b3c4d", folder, vars(question))
    entries = len(of) or len(result.counts)
    probabilities = torch.full((len(of), 2), 0.25)
    probabilities[:, 1] = 0.75
    explanation = Explanation(
        result, of, ("conv7",) * entries, ("happy",) * entries, probabilities.argmax(1), probabilities, CLASSES,
        "saliency", "vgg8", "faces", checkpoints or ("best",) * entries,
    )  # fmt: skip
    (folder / "figures").mkdir(parents=True)
    (folder / "figures" / "overview.png").write_bytes(b"picture")
    figures = [Figure(folder / "figures" / "overview.png", "All faces.")]
    for name in ("config.yaml", "manifest.json", "report.html"):
        (folder / name).write_text(name)
    np.savez_compressed(folder / "arrays.npz", allow_pickle=False, **run_arrays(explanation))
    summary = run_summary(explanation, {"explained/accuracy": 0.5}, figures)
    write_image_table(folder, explanation, summary["entries"])
    (folder / "summary.json").write_text(json.dumps(summary))
    return card


def heat_maps(count: int) -> HeatMaps:
    maps = torch.randn(count, 6, 6, generator=torch.Generator().manual_seed(1))
    return HeatMaps(maps, "score", signed=True, scores={"stability": torch.linspace(0, 1, count)})


def test_an_answer_is_told_whole(tmp_path: Path) -> None:
    of, result, notes = faces(3), heat_maps(3), Notes()
    card = answered(tmp_path, result, of)
    track_run(notes, card)
    assert notes.said["log_metrics"] == [({"explained/accuracy": 0.5}, None)]
    assert notes.said["log_figure"] == [("overview", "All faces.")]
    whole = ["arrays.npz", "config.yaml", "figures/overview.png", "manifest.json", "report.html", "summary.json"]
    assert notes.said["log_artifact"] == [("answer-1a2b3c4d", "answer", whole)]
    assert "log_confusion" not in notes.said
    (rows,) = notes.said["log_images"]
    columns = ["row", "layer", "target", "true", "predicted", "probability", "stability", "p(sad)", "p(happy)"]
    assert [list(row.values) for row in rows] == [columns] * 3
    expected = ["conv7", "happy", "sad", "happy", 0.75, 1.0, 0.25, 0.75]
    assert list(rows[2].values.values()) == [102, *expected]
    assert [row.values["true"] for row in rows] == ["?", "happy", "sad"]
    for number, row in enumerate(rows):
        assert np.array_equal(row.face, of.images[number, 0, :, :, None].expand(-1, -1, 3))
        values = result.maps[number].numpy()
        most = float(np.abs(values).max())
        expected_map = colormaps["cividis"]((values.astype(np.float64) / most + 1) / 2, bytes=True)[..., :3]
        assert row.map is not None
        assert np.abs(row.map.astype(int) - expected_map.astype(int)).max() <= 1
        low, _, high = row.scale.replace("\N{MINUS SIGN}", "-").partition(" to ")
        assert -float(low) == float(high) == pytest.approx(most, rel=0.01)


def test_a_matrix_a_checkpoint_is_told(tmp_path: Path) -> None:
    counts = torch.tensor([[[3, 1], [0, 2]], [[4, 0], [1, 1]]])
    ends = torch.zeros(2, 2, 2)
    metrics = ({"accuracy": 0.5}, {"accuracy": 0.6})
    notes = Notes()
    result = Confusion(counts, ends, ends, metrics, "test")
    card = answered(tmp_path / "two", result, faces(3).take(torch.arange(0)), checkpoints=("1", "best"))
    track_run(notes, card)
    assert notes.said["log_confusion"] == [
        ("confusion_matrix/1", [[3, 1], [0, 2]], list(CLASSES)),
        ("confusion_matrix/best", [[4, 0], [1, 1]], list(CLASSES)),
    ]
    assert "log_images" not in notes.said
    one = Confusion(counts[:1], ends[:1], ends[:1], metrics[:1], "test")
    track_run(notes, answered(tmp_path / "one", one, faces(3).take(torch.arange(0))))
    assert notes.said["log_confusion"][2:] == [("confusion_matrix", [[3, 1], [0, 2]], list(CLASSES))]


def test_a_table_has_a_hundred_faces(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    result, notes = heat_maps(130), Notes()
    card = answered(tmp_path, result, faces(130))
    with caplog.at_level(logging.INFO, "fervis"):
        track_run(notes, card)
    assert "the first 100 of 130 entries" in caplog.text
    (rows,) = notes.said["log_images"]
    assert [row.values["row"] for row in rows] == list(range(100, 200))


def test_faces_stand_once_in_the_table_and_large_ones_are_reduced(tmp_path: Path) -> None:
    """A face explained at three layers has three rows and one thumbnail."""
    generator, notes = torch.Generator().manual_seed(0), Notes()
    images = torch.randint(0, 256, (1, 3, 300, 200), generator=generator, dtype=torch.uint8).expand(3, -1, -1, -1)
    one = torch.zeros(3, dtype=torch.int64)
    of = Faces(images, one, one + 7, one.to(torch.uint8), CLASSES)
    maps = HeatMaps(torch.rand(3, 300, 200, generator=generator), "score", signed=False)
    track_run(notes, answered(tmp_path, maps, of))
    (rows,) = notes.said["log_images"]
    with np.load(tmp_path / "tracker_table.npz") as table:
        assert table["faces"].shape == (1, 256, 171, 3)
        assert table["maps"].shape == (3, 256, 171, 3)
    assert all(np.array_equal(row.face, rows[0].face) for row in rows)
    assert abs(rows[0].face.mean() - images[0].float().mean().item()) < 1
    assert not np.array_equal(rows[0].map, rows[1].map)


def test_a_kept_answer_is_told_once_and_again_where_something_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = answered(tmp_path, heat_maps(3), faces(3))
    question = RunConfig(**card.config)
    made: list[Notes] = []

    def build(kind: str, config: Mapping[str, Any]) -> Any:
        assert kind == "tracker", "nothing but the tracker is needed, least of all the data set"
        made.append(Notes())
        return made[-1]

    monkeypatch.setattr(track, "build_plugin", build)
    track_existing_run(question, card)
    assert [
        len(made[0].said[word])
        for word in ("start", "log_metrics", "log_figure", "log_images", "log_artifact", "finish")
    ] == [1] * 6
    assert made[0].said["finish"] == [True]
    track_existing_run(question, card)
    assert len(made) == 1, "it was told before"

    elsewhere = {**card.config, "tracker": {"name": "notes", "project": "other"}}
    track_existing_run(RunConfig(**elsewhere), dataclasses.replace(card, config=elsewhere))
    assert len(made) == 2
    track_existing_run(question, card)
    assert len(made) == 3
    told = json.loads((tmp_path / "summary.json").read_text())
    (tmp_path / "summary.json").write_text(json.dumps(told | {"numbers": {"explained/accuracy": 1.0}}))
    track_existing_run(question, card)
    assert made[3].said["log_metrics"] == [({"explained/accuracy": 1.0}, None)]

    (tmp_path / "figures" / "overview.png").unlink()
    (tmp_path / ".tracked_notes").unlink()
    with pytest.raises(AssertionError):
        track_existing_run(question, card)
    assert made[4].said["finish"] == [False]
    assert not (tmp_path / ".tracked_notes").exists()


def test_without_a_tracker_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = answered(tmp_path, heat_maps(3), faces(3))
    card = dataclasses.replace(card, config={**card.config, "tracker": {"name": "none"}})
    before = sorted(tmp_path.rglob("*"))
    track_run(Notes(), card)
    monkeypatch.setattr(track, "build_plugin", lambda *_: pytest.fail("nothing is to be built"))
    track_existing_run(RunConfig(**card.config), card)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Notes]:
    """The trackers that ``track`` has started."""
    started: list[Notes] = []

    class Started(Notes):
        def start(self, run: RunInfo) -> None:
            started.append(self)
            super().start(run)

    monkeypatch.setattr(track, "build_plugin", lambda *_: Started())
    return started


def finished(folder: Path, question_id: str) -> None:
    """A complete run folder."""
    answered(folder, heat_maps(3), faces(3))
    config = {"explainer": {"name": "saliency"}, "model": {"name": "vgg8"}, "dataset": {"name": "synthetic"}, "seed": 3}
    (folder / "config.yaml").write_text(yaml.safe_dump({**config, "tracker": {"name": "none"}}))
    (folder / "manifest.json").write_text(json.dumps({"question_id": question_id}))


def test_a_run_folder_is_all_that_is_needed_to_send_it(
    tmp_path: Path, made: list[Notes], capsys: pytest.CaptureFixture[str]
) -> None:
    finished(tmp_path / "vgg8-saliency-1a2b3c4d", "1a2b3c4d")
    track_command([str(tmp_path / "vgg8-saliency-1a2b3c4d"), "tracker=wandb", "tracker.mode=offline"])
    (sent,) = made
    (info,) = sent.said["start"]
    assert (info.name, info.id, info.group, info.job_type) == ("vgg8-saliency-1a2b3c4d", "1a2b3c4d", None, "explain")
    assert info.tags == ("saliency", "vgg8", "synthetic")
    assert (info.config["seed"], info.config["tracker"]["mode"]) == (3, "offline")
    assert sent.said.keys() == {"start", "log_metrics", "log_figure", "log_images", "log_artifact", "finish"}
    assert sent.said["finish"] == [True]
    assert capsys.readouterr().out.split() == [str(tmp_path / "vgg8-saliency-1a2b3c4d")]


def test_every_finished_job_of_a_sweep_is_sent_in_its_group(tmp_path: Path, made: list[Notes]) -> None:
    sweep = tmp_path / "sweeps" / "layer-5e0c77d1"
    for name in ("conv1", "conv7"):
        finished(sweep / name, name)
    (sweep / "unfinished").mkdir()
    (sweep / "multirun.yaml").write_text("")
    track_command([str(sweep), "tracker=wandb"])
    assert [notes.said["start"][0].id for notes in made] == ["conv1", "conv7"]
    track_command([str(sweep / "conv7"), "tracker=wandb"])
    assert {notes.said["start"][0].group for notes in made} == {"layer-5e0c77d1"}


def test_a_training_is_sent_with_its_epochs(tmp_path: Path, made: list[Notes]) -> None:
    """One that a run needed: without evaluation and config."""
    folder = tmp_path / "vgg8-0123456789ab"
    folder.mkdir()
    (folder / "metrics.csv").write_text("epoch,train/loss,val/accuracy\n1,2.0,0.25\n2,1.5,0.5\n")
    (folder / "training.json").write_text(json.dumps({"best": 2, "last": 2, "seed": 4, "trainer": {"epochs": 2}}))
    (folder / "epoch_002.safetensors").write_bytes(b"weights")
    track_command([str(folder), "tracker=wandb"])
    (sent,) = made
    (info,) = sent.said["start"]
    assert (info.id, info.job_type, info.config["seed"]) == ("0123456789ab", "train", 4)
    epochs = [({"train/loss": 2.0, "val/accuracy": 0.25}, 1), ({"train/loss": 1.5, "val/accuracy": 0.5}, 2)]
    assert sent.said["log_metrics"] == [*epochs, ({"best": 2.0}, None)]
    files = ["best.safetensors", "last.safetensors", "metrics.csv"]
    assert sent.said["log_artifact"] == [("vgg8-0123456789ab", "model", files)]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["tracker=wandb"], "track: expected a folder of a run, a sweep or a training"),
        (["{folder}"], "track: expected a tracker, such as tracker=wandb."),
        (["{folder}", "{folder}/empty", "tracker=wandb"], "it holds no complete run, sweep or training"),
        (["{folder}", "tracker=wandb", "tracker.mode=offlin"], "Did you mean offline?"),
    ],
)
def test_what_cannot_be_sent_is_refused_before_anything_is_sent(
    tmp_path: Path, arguments: list[str], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished(tmp_path / "run", "1a2b3c4d")
    monkeypatch.setattr(track, "_send_run", lambda *_: pytest.fail("nothing is to be sent"))
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        track_command([word.format(folder=tmp_path) for word in arguments])
