import dataclasses
import hashlib
import json
import logging
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image
from support.wandb_file import read, runs

from fervis.core.protocols import ImageRow, RunInfo
from fervis.core.registry import build_plugin
from fervis.core.results import Figure
from fervis.errors import ConfigError
from fervis.trackers.none import NoTracker
from fervis.trackers.tensorboard import TensorBoard
from fervis.trackers.wandb import COPY_LIMIT, WandB

CONF = Path(__file__).parents[2] / "conf" / "tracker"
KEY = "f" * 40
ALONE = "1a2b3c4d"
IN_SWEEP = f"{ALONE}-{hashlib.sha256(b'layers_2026').hexdigest()[:8]}"
NOWHERE = "http://127.0.0.1:9"  # the discard port of this machine: nobody listens


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """HOME and the working folder are empty ones, and stay so: a tracker writes into the run folder alone."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "XDG_CACHE_HOME", "XDG_DATA_HOME", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    home, cwd, temporary = (tmp_path / name for name in ("home", "cwd", "tmp"))
    for folder in (home, cwd, temporary):
        folder.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.chdir(cwd)
    propagates = logging.getLogger("wandb").propagate  # other packages import wandb too, which turns it off
    yield home
    assert logging.getLogger("wandb").propagate == propagates
    asked = {"WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL"}
    assert {name for name in os.environ if name.startswith("WANDB_")} <= asked
    assert [path for folder in (home, cwd) for path in folder.rglob("*") if path.name != ".netrc"] == []


def card(folder: Path, **changes: object) -> RunInfo:
    known = RunInfo(
        name="saliency-conv7-vgg8",
        id=ALONE,
        folder=folder,
        config={"explainer": {"name": "saliency"}, "layer": "conv7", "faces": [299, 300], "seed": 0},
        group="layers_2026",
        job_type="train",
        tags=("saliency", "conv7"),
    )
    return dataclasses.replace(known, **changes)


def figure(folder: Path) -> Figure:
    path = folder / "figures" / "299_angry_conv7.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return Figure(path, "Face 299, labelled angry.")


def rows_of(count: int, *, maps: bool = True) -> list[ImageRow]:
    faces = np.random.default_rng(1).integers(0, 256, (2 * count, 48, 48, 3), dtype=np.uint8)
    values = {"layer": "conv7", "true": "sad", "predicted": "happy", "probability": 0.75, "stability": None}
    return [
        ImageRow(faces[2 * n], faces[2 * n + 1] if maps else None, "0 to 1", {"row": 300 + n, **values})
        for n in range(count)
    ]


def test_everything_recorded_offline_is_found_again(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    picture = figure(folder)
    tracker = WandB(project="faces", mode="offline", tags=["mine", "conv7"])
    tracker.start(card(folder))
    for epoch in (1, 2, 3):
        tracker.log_metrics({"val_accuracy": epoch / 10, "train_loss": 1 / epoch}, epoch)
    tracker.log_figure("figures/299_angry_conv7", picture)
    tracker.log_metrics({"val_accuracy_best": 0.3})
    tracker.finish(ok=True)

    (path,) = runs(folder)
    run = read(path)
    assert (run.id, run.name, run.project) == (IN_SWEEP, "saliency-conv7-vgg8", "faces")
    assert (run.group, run.job_type) == ("layers_2026", "train")
    assert sorted(run.tags) == ["conv7", "mine", "saliency"]
    assert run.config == card(folder).config
    curve = [(row["epoch"], row["val_accuracy"], row["train_loss"]) for row in run.rows if "epoch" in row]
    assert curve == [(1, 0.1, 1.0), (2, 0.2, 0.5), (3, 0.3, 1 / 3)]
    assert run.step_metrics.items() >= {"val_accuracy": "epoch", "train_loss": "epoch"}.items()
    assert run.summary["val_accuracy_best"] == 0.3
    assert run.exit_code == 0

    (shown,) = [row["figures/299_angry_conv7"] for row in run.rows if "figures/299_angry_conv7" in row]
    assert (shown["_type"], shown["caption"]) == ("image-file", "Face 299, labelled angry.")
    assert (path.parent / "files" / shown["path"]).read_bytes() == picture.path.read_bytes()


def tell(folder: Path) -> Path:
    """Follow a run with faces, a matrix and files; the record."""
    (folder / "figures").mkdir(parents=True)
    (folder / "summary.json").write_text("{}")
    (folder / "arrays.npz").write_bytes(bytes(COPY_LIMIT + 1))
    tracker = WandB(mode="offline")
    tracker.start(card(folder))
    tracker.log_images(rows_of(2))
    tracker.log_confusion("matrix", np.array([[3, 1], [0, 2]]), ["sad", "happy"])
    files = {"summary.json": folder / "summary.json", "arrays.npz": folder / "arrays.npz"}
    tracker.log_artifact("answer of conv7/4", "answer", files)
    tracker.finish(ok=True)
    (path,) = runs(folder)
    return path


def test_a_table_of_faces_a_matrix_and_an_answer_are_found_again(tmp_path: Path) -> None:
    run = read(tell(tmp_path / "run"))
    everything = [path for kept in run.artifacts.values() for path in kept.files.values()]
    assert len(everything) == 5 + 1 + 2
    assert all(path.is_relative_to(tmp_path / "run") and path.is_file() for path in everything)

    table = run.artifacts[f"run-{IN_SWEEP}-table_of_faces"]
    assert table.type == "run_table"
    told = json.loads(table.files["table_of_faces.table.json"].read_text())
    columns = ["row", "face", "map", "layer", "true", "predicted", "probability", "stability"]
    assert told["columns"] == columns
    assert len(told["data"]) == 2
    for line, row in zip(told["data"], rows_of(2), strict=True):
        cells = dict(zip(columns, line, strict=True))
        for name, pixels in (("face", row.face), ("map", row.map)):
            with Image.open(table.files[cells.pop(name)["path"]]) as shown:
                assert np.array_equal(np.asarray(shown), pixels)
        assert cells == row.values
    assert [line[2]["caption"] for line in told["data"]] == ["0 to 1"] * 2

    assert run.plots["matrix"]["panel_config"]["panelDefId"] == "wandb/confusion_matrix/v1"
    assert run.plots["matrix"]["panel_config"]["stringSettings"] == {"title": "matrix"}
    counted = json.loads(run.artifacts[f"run-{IN_SWEEP}-matrix_table"].files["matrix_table.table.json"].read_text())
    assert counted["columns"] == ["Actual", "Predicted", "nPredictions"]
    lines = [["sad", "sad", 3], ["sad", "happy", 1], ["happy", "sad", 0], ["happy", "happy", 2]]
    assert counted["data"] == lines

    answer = run.artifacts["answer_of_conv7_4"]
    assert (answer.type, answer.aliases) == ("answer", ["latest"])
    assert answer.files["summary.json"].read_text() == "{}"
    assert answer.files["summary.json"] != tmp_path / "run" / "summary.json", "a copy: the answer may be asked again"
    assert answer.files["arrays.npz"] == tmp_path / "run" / "arrays.npz", "large files are not doubled"


def test_the_agent_of_a_sweep_has_named_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_RUN_ID", "agentsid")
    tracker = WandB(mode="offline")
    tracker.start(card(tmp_path / "alone"))
    tracker.finish(ok=True)
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweepsid")
    tracker.start(card(tmp_path / "swept"))
    tracker.finish(ok=True)
    (alone,), (swept,) = (map(read, runs(tmp_path / name)) for name in ("alone", "swept"))
    assert (alone.id, alone.sweep) == (IN_SWEEP, "")
    assert (swept.id, swept.sweep) == ("agentsid", "sweepsid")
    for name in ("WANDB_RUN_ID", "WANDB_SWEEP_ID"):
        monkeypatch.delenv(name)


def test_the_same_config_alone_and_in_two_sweeps_is_three_runs(tmp_path: Path) -> None:
    tracker, groups = WandB(mode="offline"), (None, "layers_2026", "seeds_2026")
    for number, group in enumerate(groups):
        tracker.start(card(tmp_path / str(number), group=group))
        tracker.finish(ok=True)
    recorded = [read(path) for number in range(3) for path in runs(tmp_path / str(number))]
    assert [run.group for run in recorded] == ["", "layers_2026", "seeds_2026"]
    assert [run.id for run in recorded[:2]] == [ALONE, IN_SWEEP]
    assert len({run.id for run in recorded}) == 3


def test_long_runs_are_read_over_the_borders_of_blocks(tmp_path: Path) -> None:
    tracker = WandB(mode="offline")
    tracker.start(card(tmp_path / "run"))
    for epoch in range(300):
        tracker.log_metrics({f"number_{k}": epoch + k / 10 for k in range(10)}, epoch)
    tracker.finish(ok=True)
    (path,) = runs(tmp_path / "run")
    assert path.stat().st_size > 2 * 32768
    rows = [row for row in read(path).rows if "epoch" in row]
    assert [(row["epoch"], row["number_9"]) for row in rows] == [(epoch, epoch + 0.9) for epoch in range(300)]


def test_one_run_a_job_even_of_the_same_question_and_a_failed_one_says_so(tmp_path: Path) -> None:
    for _ in range(2):
        tracker = WandB(mode="offline")
        tracker.start(card(tmp_path / "same"))
        tracker.log_metrics({"accuracy": 0.5})
        tracker.finish(ok=True)
    tracker.start(card(tmp_path / "failed", id="00000000", group=None))
    tracker.finish(ok=False)
    assert [(run.id, run.exit_code) for run in map(read, runs(tmp_path / "same"))] == [(IN_SWEEP, 0)] * 2
    (failed,) = map(read, runs(tmp_path / "failed"))
    assert (failed.id, failed.group, failed.exit_code) == ("00000000", "", 1)


def test_disabled_records_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for mode in ("disabled", "auto"):
        monkeypatch.setenv("WANDB_MODE", "disabled")
        tracker = WandB(mode=mode)
        tracker.start(card(tmp_path / "run"))
        tracker.log_metrics({"accuracy": 0.5}, 1)
        tracker.log_figure("face", Figure(tmp_path / "none.png", ""))
        tracker.log_images(rows_of(2))
        tracker.log_confusion("matrix", np.eye(2, dtype=np.int64), ["sad", "happy"])
        tracker.log_artifact("answer", "answer", {"none": tmp_path / "none.json"})
        tracker.finish(ok=True)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("mode", ["auto", "online"])
@pytest.mark.parametrize("key", ["WANDB_API_KEY", "netrc"])
def test_without_a_network_it_goes_offline_after_one_warning(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    mode: str,
    key: str,
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", NOWHERE)
    if key == "netrc":
        (tmp_path / "home" / ".netrc").write_text(f"machine 127.0.0.1 login user password {KEY}\n")
        (tmp_path / "home" / ".netrc").chmod(0o600)
    else:
        monkeypatch.setenv(key, KEY)
    folder = tmp_path / "run"
    begun = time.monotonic()
    tracker = WandB(mode=mode)
    tracker.start(card(folder))
    assert time.monotonic() - begun < 8  # W&B alone would take 15 s
    tracker.log_metrics({"accuracy": 0.5})
    tracker.finish(ok=True)
    (warning,) = (record for record in caplog.records if record.name == "fervis")
    assert (warning.name, warning.levelno) == ("fervis", logging.WARNING)
    assert warning.getMessage().startswith(f"tracker=wandb: {NOWHERE} cannot be reached (")
    assert str(folder / "wandb") in warning.getMessage()
    assert "\n" not in warning.getMessage()
    assert KEY not in warning.getMessage()
    assert capfd.readouterr() == ("", "")  # the warning itself goes to pytest
    (path,) = runs(folder)
    assert read(path).summary["accuracy"] == 0.5


def test_without_a_key_it_goes_offline_after_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tracker = WandB()
    tracker.start(card(tmp_path / "run"))
    tracker.finish(ok=True)
    (warning,) = (record for record in caplog.records if record.name == "fervis")
    assert warning.getMessage().startswith("tracker=wandb: no API key was found, so this run is recorded offline in ")
    assert len(runs(tmp_path / "run")) == 1


class Unwilling(BaseHTTPRequestHandler):
    """A server that is there and knows nothing of W&B."""

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_a_server_that_refuses_is_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with HTTPServer(("127.0.0.1", 0), Unwilling) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        tracker = WandB()
        tracker.start(card(tmp_path / "run"))
        tracker.finish(ok=True)
        server.shutdown()
    (warning,) = (record for record in caplog.records if record.name == "fervis")
    assert "so this run is recorded offline in" in warning.getMessage()
    (run,) = map(read, runs(tmp_path / "run"))
    assert (run.id, run.exit_code) == (IN_SWEEP, 0)


def test_a_server_that_says_nothing_is_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        tracker = WandB(timeout=0.2)
        tracker.start(card(tmp_path / "run"))
        tracker.finish(ok=True)
    (warning,) = (record for record in caplog.records if record.name == "fervis")
    assert re.search(r"does not answer within 0.2 s|cannot be reached", warning.getMessage())
    assert len(runs(tmp_path / "run")) == 1


def test_a_run_that_somebody_has_open_stays_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import wandb

    with monkeypatch.context() as theirs:
        for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
            theirs.setenv(name, str(tmp_path / "theirs"))
        settings = wandb.Settings(silent=True, console="off", disable_git=True, x_disable_stats=True)
        with wandb.init(mode="offline", dir=str(tmp_path / "theirs"), settings=settings) as open_run:
            tracker = WandB(mode="offline")
            tracker.start(card(tmp_path / "ours"))
            tracker.log_metrics({"accuracy": 0.5})
            tracker.finish(ok=True)
            assert os.environ["WANDB_DATA_DIR"] == str(tmp_path / "theirs")
            assert wandb.run is open_run
            open_run.log({"loss": 0.25})
        wandb.teardown()
        for name in [name for name in os.environ if name.startswith("WANDB_SERVICE")]:
            theirs.delenv(name)
    (ours,), (their,) = map(read, runs(tmp_path / "ours")), map(read, runs(tmp_path / "theirs"))
    assert (ours.summary["accuracy"], ours.exit_code) == (0.5, 0)
    assert ([row["loss"] for row in their.rows], their.exit_code) == ([0.25], 0)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        (
            {"mode": "offlin"},
            r"^tracker.mode=offlin: expected auto, online, offline or disabled. Did you mean offline\?$",
        ),
        ({"timeout": 0}, r"^tracker.timeout=0.0: expected a number above 0.$"),
    ],
)
def test_wrong_knobs_are_named(knobs: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_plugin("tracker", "wandb", **knobs)


def test_none_does_nothing(tmp_path: Path) -> None:
    tracker = NoTracker()
    tracker.start(card(tmp_path / "run"))
    tracker.log_metrics({"accuracy": 0.5}, 1)
    tracker.log_figure("face", Figure(tmp_path / "none.png", ""))
    tracker.log_images(rows_of(2))
    tracker.log_confusion("matrix", np.eye(2, dtype=np.int64), ["sad", "happy"])
    tracker.log_artifact("answer", "answer", {"none": tmp_path / "none.json"})
    tracker.finish(ok=True)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("name", "plugin"), [("none", NoTracker), ("wandb", WandB), ("tensorboard", TensorBoard)])
def test_yaml_states_every_knob(name: str, plugin: type) -> None:
    stated = OmegaConf.to_container(OmegaConf.load(CONF / f"{name}.yaml"))
    assert stated == {"name": name} | dataclasses.asdict(plugin())
    assert dict(OmegaConf.structured(plugin)) == {key: value for key, value in stated.items() if key != "name"}


FOLLOWED = """
import sys
from pathlib import Path
written = set()
def hear(event, told):
    if event == "open" and isinstance(told[0], (str, bytes)) and isinstance(told[2], int) and told[2] & 3:
        written.add(str(told[0]))
    if event in ("os.mkdir", "os.rename"):
        written.add(str(told[event == "os.rename"]))
sys.addaudithook(hear)
sys.path[:0] = sys.argv[2:]
from test_wandb import tell
tell(Path(sys.argv[1]))
print(*sorted(path for path in written if Path(path).is_absolute()), sep="\\n")
"""


def test_nothing_is_written_outside_the_run_folder(tmp_path: Path) -> None:
    """Of a process of its own: neither what is left when it has ended, nor what was opened to write on the way."""
    run, temporary = tmp_path / "run", tmp_path / "tmp"
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    words = [sys.executable, "-c", FOLLOWED, str(run), str(Path(__file__).parent), str(Path(__file__).parents[1])]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cwd", "home", "run", "tmp"]
    assert list(temporary.rglob("*")) == []  # home and cwd: `elsewhere` looks
    written = [Path(path) for path in done.stdout.splitlines()]
    assert any(path.is_relative_to(run / "wandb") for path in written)
    allowed = (run, temporary, Path("/dev"))  # what W&B puts among the temporary files is gone with the process
    assert [path for path in written if not any(path.is_relative_to(place) for place in allowed)] == []
