"""What TensorBoard is told, read back from its event files."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fervis.core.protocols import ImageRow, RunInfo
from fervis.core.results import Figure
from fervis.errors import ConfigError
from fervis.trackers.tensorboard import TensorBoard

accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


def card(folder: Path) -> RunInfo:
    return RunInfo("vgg8-saliency", "1a2b3c4d", folder, {"layer": "conv7", "seed": 0}, group="layers", tags=("a", "b"))


def words(events: object, tag: str) -> str:
    (event,) = events.Tensors(f"{tag}/text_summary")  # type: ignore[attr-defined]
    return event.tensor_proto.string_val[0].decode()


def shown(events: object, tag: str) -> np.ndarray:
    (event,) = events.Images(tag)  # type: ignore[attr-defined]
    return np.asarray(Image.open(io.BytesIO(event.encoded_image_string)))


def test_everything_recorded_is_found_again(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    pixels, face, heat = (generator.integers(0, 256, (6, 8, 3), dtype=np.uint8) for _ in range(3))
    Image.fromarray(pixels).save(tmp_path / "overview.png")
    tracker = TensorBoard()
    for _ in range(2):  # the same question again replaces what was recorded
        tracker.start(card(tmp_path / "run"))
        for epoch in (1, 2):
            tracker.log_metrics({"val/accuracy": epoch / 4}, epoch)
        tracker.log_metrics({"strongest_tenth": 0.5})
        tracker.log_figure("overview", Figure(tmp_path / "overview.png", "Two faces."))
        tracker.log_images(
            [ImageRow(face, heat, "0 to 1", {"row": 299, "true": "sad"}), ImageRow(face, None, "", {"row": 3})]
        )
        tracker.log_confusion("confusion_matrix", np.array([[3, 1], [0, 2]]), ["sad", "happy"])
        tracker.log_artifact("answer-1a2b3c4d", "answer", {"figures/overview.png": tmp_path / "overview.png"})
        tracker.finish(ok=True)
    assert [path.parent for path in tmp_path.rglob("events.*")] == [tmp_path / "run" / "tensorboard"]

    events = accumulators.EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("val/accuracy")] == [(1, 0.25), (2, 0.5)]
    assert [(event.step, event.value) for event in events.Scalars("answer/strongest_tenth")] == [(0, 0.5)]
    assert np.array_equal(shown(events, "overview"), pixels)
    assert words(events, "overview") == "Two faces."
    assert np.array_equal(shown(events, "faces/000_299"), np.concatenate([face, heat], axis=1))
    assert np.array_equal(shown(events, "faces/001_3"), face)
    assert words(events, "faces").splitlines() == [
        "| row | true |", "| --- | --- |", "| 299 | sad |", "| 3 | None |"
    ]  # fmt: skip
    assert words(events, "confusion_matrix").splitlines()[2:] == ["| sad | 3 | 1 |", "| happy | 0 | 2 |"]
    size = (tmp_path / "overview.png").stat().st_size
    assert words(events, "answer/answer-1a2b3c4d").splitlines()[2:] == [f"| figures/overview.png | {size} |"]
    assert json.loads(words(events, "config").strip("`").removeprefix("json")) == {"layer": "conv7", "seed": 0}
    assert "| group | layers |" in words(events, "run")
    assert words(events, "state") == "finished"


def test_a_failed_run_says_so(tmp_path: Path) -> None:
    tracker = TensorBoard()
    tracker.start(card(tmp_path))
    tracker.finish(ok=False)
    tracker.finish(ok=False)
    events = accumulators.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert words(events, "state") == "failed"


def test_without_the_package_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("torch.utils.tensorboard")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(ConfigError, match=r"^tracker=tensorboard: .* `pip install tensorboard` adds it\.$"):
        TensorBoard().start(card(tmp_path))
    assert not list(tmp_path.iterdir())
