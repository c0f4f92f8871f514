"""What is read back is what was written, wherever it lies; folders that fervis did not make stay as they are."""

from __future__ import annotations

import json
import os
import shutil
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.command import SMALL

import fervis
from fervis.cli.main import main
from fervis.errors import ConfigError
from fervis.system.hashing import file_hash

QUESTION = [*SMALL, "trainer.batch_size=16", "model.width=2", "faces=[350,351]", "visualizer.dpi=40"]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("outputs")


def run(outputs: Path, *overrides: str) -> Path:
    return fervis.ask([f"outputs={outputs}", "quiet=true", *QUESTION, *overrides])


def contents(folder: Path) -> dict[str, str]:
    """What a run must give again to the byte."""
    files = [folder / name for name in ("arrays.npz", "summary.json", "config.yaml")]
    return {path.name: file_hash(path) for path in [*files, *sorted((folder / "figures").iterdir())]}


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def figure(folder: Path) -> Path:
    return next((folder / "figures").iterdir())


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a flipped byte in arrays.npz": lambda folder: flip(folder / "arrays.npz"),
    "arrays.npz cut": lambda folder: os.truncate(folder / "arrays.npz", 1000),
    "arrays.npz removed": lambda folder: (folder / "arrays.npz").unlink(),
    "a flipped byte in a figure": lambda folder: flip(figure(folder)),
    "a figure removed": lambda folder: figure(folder).unlink(),
    "summary.json empty": lambda folder: (folder / "summary.json").write_text(""),
    "config.yaml edited": lambda folder: (folder / "config.yaml").write_text("seed: 1\n"),
    "manifest.json empty": lambda folder: (folder / "manifest.json").write_text(""),
    "manifest.json removed": lambda folder: (folder / "manifest.json").unlink(),
    "manifest.json edited": lambda folder: (folder / "manifest.json").write_text(
        (folder / "manifest.json").read_text().replace('"seed": 0', '"seed": 1')
    ),
}


@pytest.mark.parametrize("damage", list(DAMAGE))
def test_damage_is_logged_and_computed_again(damage: str, outputs: Path, caplog: pytest.LogCaptureFixture):
    folder = run(outputs)
    before = contents(folder)
    DAMAGE[damage](folder)
    caplog.clear()
    assert run(outputs) == folder
    (line,) = [record.getMessage() for record in caplog.records if "computed again" in record.getMessage()]
    assert str(folder) in line
    assert contents(folder) == before
    stamp = (folder / "summary.json").stat().st_mtime_ns
    run(outputs)
    assert (folder / "summary.json").stat().st_mtime_ns == stamp


def test_a_page_that_was_removed_is_written_again(outputs: Path):
    folder = run(outputs)
    page, stamp = (folder / "report.html").read_bytes(), (folder / "arrays.npz").stat().st_mtime_ns
    (folder / "report.html").unlink()
    run(outputs)
    assert (folder / "report.html").read_bytes() == page
    assert (folder / "arrays.npz").stat().st_mtime_ns == stamp


def test_another_runs_folder_of_the_same_id_is_not_taken(outputs: Path):
    folder = run(outputs)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["key"][:12] == folder.name.rpartition("-")[2]
    from fervis.runs.artifacts import is_complete

    other = manifest["key"][:12] + "0" * 52
    assert is_complete(folder, manifest["key"], outputs / "cache")
    assert not is_complete(folder, other, outputs / "cache")


def test_a_run_is_found_in_any_sweep(outputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = run(outputs, "seed=5")
    before = contents(folder)
    arguments = ["-m", f"outputs={outputs}", "quiet=true", *QUESTION[:-2], "faces=[350,351]", QUESTION[-1], "seed=5,6"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["fervis", *arguments])
    assert main(arguments) == 0
    (job,) = outputs.glob(f"sweeps/*/{folder.name}")
    assert contents(job) == before
    manifest = json.loads((job / "manifest.json").read_text())
    assert manifest["origin"] == str(folder)
    assert manifest["differs"]["seed"] == "5"
    assert (job / "arrays.npz").samefile(folder / "arrays.npz")
    shutil.rmtree(folder)
    assert contents(run(outputs, "seed=5")) == before
    (other,) = set(outputs.glob("sweeps/*/vgg8-*")) - {job}
    assert "origin" not in json.loads((other / "manifest.json").read_text())


@pytest.mark.parametrize("target", ["paper", "."])
def test_a_folder_of_somebody_elses_is_not_replaced(target: str, outputs: Path, tmp_path: Path, monkeypatch):
    figures = tmp_path / "paper" / "figures"
    figures.mkdir(parents=True)
    (figures / "drawing.svg").write_text("mine")
    (tmp_path / "paper" / ".partial").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"hydra\.run\.dir=.*: the folder is not empty and"):
        run(outputs, f"hydra.run.dir={target}", "seed=3")
    assert sorted(path.name for path in tmp_path.rglob("*")) == [".partial", "drawing.svg", "figures", "paper"]


def test_a_folder_of_ones_own_choice_is_used_and_found_again(outputs: Path, tmp_path: Path):
    given = f"hydra.run.dir={tmp_path / 'mine'}"
    folder = run(outputs, given)
    assert folder == tmp_path / "mine"
    stamp = (folder / "summary.json").stat().st_mtime_ns
    assert run(outputs, given) == folder
    assert (folder / "summary.json").stat().st_mtime_ns == stamp
    assert run(outputs, given, "layer=conv2") == folder
    assert (folder / "summary.json").stat().st_mtime_ns != stamp


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_second_user_reads_the_result_of_the_first(tmp_path: Path):
    folder = run(tmp_path)
    paths = [tmp_path, *tmp_path.rglob("*")]
    modes = {path: path.stat().st_mode for path in paths}
    try:
        for path in paths:
            path.chmod(modes[path] & ~0o222)
        assert run(tmp_path) == folder
    finally:
        for path in paths:
            path.chmod(modes[path])


def test_nothing_is_written_to_find_a_result(outputs: Path, monkeypatch: pytest.MonkeyPatch):
    folder = run(outputs)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    shutil.rmtree(outputs / "locks")
    monkeypatch.setattr("fervis.system.files.os.getpid", refuse)  # every atomic write asks for it
    monkeypatch.setattr("pathlib.Path.touch", refuse)
    assert run(outputs) == folder
    assert not (outputs / "locks").exists()


def test_files_have_the_mode_of_the_umask(tmp_path: Path):
    before = os.umask(0o027)
    try:
        folder = run(tmp_path)
    finally:
        os.umask(before)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {folder / "arrays.npz", *tmp_path.glob("cache/*.safetensors")} <= {*files}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o640}


def test_checking_a_result_costs_little(outputs: Path):
    from fervis.runs.artifacts import is_complete

    folder = run(outputs)
    manifest = json.loads((folder / "manifest.json").read_text())
    begun = time.perf_counter()
    assert is_complete(folder, manifest["key"], outputs / "cache")
    assert time.perf_counter() - begun < 0.05
