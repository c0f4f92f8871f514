"""What a tracker is told of an answer: all that its folder holds, once."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib import colormaps
from numpy.typing import NDArray

from fervis.core.faces import Faces
from fervis.core.protocols import ImageRow, RunInfo
from fervis.core.results import Confusion, Explanation, Figure, HeatMaps
from fervis.runs import track
from fervis.runs.artifacts import run_arrays, run_summary
from fervis.runs.config import RunConfig
from fervis.runs.track import array_items, track_existing_run, track_run

CLASSES = ("sad", "happy")


class Notes:
    """A tracker that writes down what it is told."""

    def __init__(self) -> None:
        self.said: dict[str, list[Any]] = {}

    def _note(self, word: str, what: Any) -> None:
        self.said.setdefault(word, []).append(what)

    def start(self, run: RunInfo) -> None:
        self._note("start", run)

    def log(self, numbers: Mapping[str, float], epoch: int | None = None) -> None:
        self._note("log", (dict(numbers), epoch))

    def picture(self, name: str, figure: Figure) -> None:
        assert figure.path.is_file()
        self._note("picture", (name, figure.caption))

    def faces(self, rows: Sequence[ImageRow]) -> None:
        self._note("faces", list(rows))

    def confusion(self, name: str, counts: NDArray[np.int64], classes: Sequence[str]) -> None:
        self._note("confusion", (name, counts.tolist(), list(classes)))

    def keep(self, name: str, kind: str, files: Mapping[str, Path]) -> None:
        assert all(path.is_file() for path in files.values())
        self._note("keep", (name, kind, sorted(files)))

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
    (folder / "summary.json").write_text(json.dumps(run_summary(explanation, {"explained/accuracy": 0.5}, figures)))
    return card


def heat_maps(count: int) -> HeatMaps:
    maps = torch.randn(count, 6, 6, generator=torch.Generator().manual_seed(1))
    return HeatMaps(maps, "score", signed=True, scores={"stability": torch.linspace(0, 1, count)})


def test_an_answer_is_told_whole(tmp_path: Path) -> None:
    of, result, notes = faces(3), heat_maps(3), Notes()
    card = answered(tmp_path, result, of)
    track_run(notes, card, faces(5))
    assert notes.said["log"] == [({"explained/accuracy": 0.5}, None)]
    assert notes.said["picture"] == [("overview", "All faces.")]
    whole = ["arrays.npz", "config.yaml", "figures/overview.png", "manifest.json", "report.html", "summary.json"]
    assert notes.said["keep"] == [("answer-1a2b3c4d", "answer", whole)]
    assert "confusion" not in notes.said
    (rows,) = notes.said["faces"]
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
    track_run(notes, card, faces(3))
    assert notes.said["confusion"] == [
        ("confusion_matrix/1", [[3, 1], [0, 2]], list(CLASSES)),
        ("confusion_matrix/best", [[4, 0], [1, 1]], list(CLASSES)),
    ]
    assert "faces" not in notes.said
    one = Confusion(counts[:1], ends[:1], ends[:1], metrics[:1], "test")
    track_run(notes, answered(tmp_path / "one", one, faces(3).take(torch.arange(0))), faces(3))
    assert notes.said["confusion"][2:] == [("confusion_matrix", [[3, 1], [0, 2]], list(CLASSES))]


def test_a_table_has_a_hundred_faces_and_reads_no_more(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    result, notes = heat_maps(130), Notes()
    card = answered(tmp_path, result, faces(130))
    with caplog.at_level(logging.INFO, "fervis"):
        track_run(notes, card, faces(130))
    assert "the first 100 of 130 entries" in caplog.text
    (rows,) = notes.said["faces"]
    assert [row.values["row"] for row in rows] == list(range(100, 200))
    with np.load(tmp_path / "arrays.npz") as kept:
        for name in ("maps", "probabilities", "rows", "stability"):
            assert np.array_equal(array_items(kept, name, [7, 129, 0]), kept[name][[7, 129, 0]])


def test_a_summary_of_some_of_the_entries_finds_them_in_the_arrays(tmp_path: Path) -> None:
    """As an answer to a question of many faces: its summary lists some spread over all."""
    notes = Notes()
    card = answered(tmp_path / "all", heat_maps(50), faces(50))
    track_run(notes, card, faces(50))
    told = json.loads((tmp_path / "all" / "summary.json").read_text())
    some = [40, 3, 12]
    (tmp_path / "all" / "summary.json").write_text(
        json.dumps(told | {"entries": [told["entries"][one] for one in some]})
    )
    track_run(notes, card, faces(50))
    every, few = notes.said["faces"]
    assert [row.values for row in few] == [every[one].values for one in some]
    assert all(np.array_equal(row.map, every[one].map) for row, one in zip(few, some, strict=True))


def test_a_kept_answer_is_told_once_and_again_where_something_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = answered(tmp_path, heat_maps(3), faces(3))
    question = RunConfig(**card.config)
    made: list[Notes] = []

    class Everything:
        def load(self, cache: Path) -> Faces:
            return faces(5)

    def build(kind: str, config: Mapping[str, Any]) -> Any:
        if kind == "tracker":
            made.append(Notes())
        return made[-1] if kind == "tracker" else Everything()

    monkeypatch.setattr(track, "build_plugin", build)
    track_existing_run(question, card)
    assert [len(made[0].said[word]) for word in ("start", "log", "picture", "faces", "keep", "finish")] == [1] * 6
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
    assert made[3].said["log"] == [({"explained/accuracy": 1.0}, None)]

    (tmp_path / "figures" / "overview.png").unlink()
    (tmp_path / ".told_notes").unlink()
    with pytest.raises(AssertionError):
        track_existing_run(question, card)
    assert made[4].said["finish"] == [False]
    assert not (tmp_path / ".told_notes").exists()


def test_without_a_tracker_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = answered(tmp_path, heat_maps(3), faces(3))
    card = dataclasses.replace(card, config={**card.config, "tracker": {"name": "none"}})
    before = sorted(tmp_path.rglob("*"))
    track_run(Notes(), card, faces(3))
    monkeypatch.setattr(track, "build_plugin", lambda *_: pytest.fail("nothing is to be built"))
    track_existing_run(RunConfig(**card.config), card)
    assert sorted(tmp_path.rglob("*")) == before
