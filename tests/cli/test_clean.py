"""``clean``: what is found, what is removed, and all that must stay."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from support.command import ROOT

from fervis.cli.clean import clean_outputs
from fervis.cli.clean_items import contents_table, format_size
from fervis.errors import ConfigError
from fervis.system.locks import exclusive, lock_path

PARSED = f"fer2013-1-csv-{'0' * 32}.safetensors"
CONTENT = f"content-{'0' * 16}.json"


def write(path: Path, text: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def run(folder: Path, weights: str = "", explainer: str = "saliency") -> Path:
    """A whole answer, made from weights that hold this text."""
    hashes = {"config": "0", "weights best": digest(weights)}
    write(folder / "manifest.json", json.dumps({"fervis": "0.1.0", "hashes": hashes}))
    write(folder / "config.yaml", f"explainer:\n  name: {explainer}\nmodel:\n  name: vgg8\n")
    write(folder / "figures" / "overview.png")
    write(folder / "summary.json", "{}")
    return folder


def training(folder: Path, *, last: int, best: int, whole: bool = True) -> Path:
    for epoch in range(1, last + 1):
        write(folder / f"epoch_{epoch:03d}.safetensors", f"{folder.name} {epoch}")
    write(folder / "metrics.csv")
    header = json.dumps({"__metadata__": {"course": "{}"}}).encode()
    (folder / "course.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    if whole:
        write(folder / "training.json", json.dumps({"best": best, "last": last, "trainer": {}}))
    return folder


def begun(outputs: Path, folder: Path) -> Path:
    """A folder that a process of fervis has locked."""
    write(lock_path(outputs, folder), "")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    """One of everything: two answers, a killed run, a sweep with a failed and a killed job, trainings, parsed data."""
    outputs = tmp_path / "outputs"
    run(outputs / "runs" / "whole", weights="first 2")
    run(outputs / "runs" / "course", weights="watched 3", explainer="training")
    write(begun(outputs, outputs / "runs" / "killed") / ".partial" / "figures" / "a.png", "12345")
    write(outputs / "runs" / "going_on" / "blocks" / "about.json", '{"key": {}}')
    sweep = outputs / "sweeps" / "layer-1"
    run(sweep / "answered", weights="first 4")
    write(sweep / "failed" / "failure.json", json.dumps({"error": "x", "code": 2, "overrides": []}))
    write(begun(outputs, sweep / "killed") / ".partial" / "a.png")
    write(sweep / "multirun.yaml", "hydra:\n  job:\n    chdir: false\n    name: fervis\n")
    training(outputs / "checkpoints" / "first", last=6, best=3)
    training(outputs / "checkpoints" / "watched", last=4, best=3)
    training(outputs / "checkpoints" / "begun", last=2, best=2, whole=False)
    write(outputs / "cache" / PARSED)
    write(outputs / "cache" / CONTENT)
    write(outputs / "locks" / "whole-0123abcd.lock", "")
    return outputs


def tree(folder: Path) -> set[str]:
    """All files, but for locks, which looking makes."""
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    return {name for name in found if not name.startswith("locks")}


def asked(outputs: Path, *words: str) -> str:
    return "\n".join(clean_outputs([*words, f"outputs={outputs}"]))


def test_what_is_left_over_goes_and_nothing_else(outputs: Path):
    begun(outputs, outputs / "runs" / "empty")
    write(outputs / "runs" / "whole" / ".arrays.99999999.partial.npz")
    before = tree(outputs)
    told = asked(outputs)
    gone = {
        "runs/killed/.partial/figures/a.png",
        "sweeps/layer-1/killed/.partial/a.png",
        "runs/whole/.arrays.99999999.partial.npz",
    }
    assert before - tree(outputs) == gone
    assert not (outputs / "runs" / "empty").exists()
    assert not (outputs / "runs" / "killed").exists()
    assert "Removed leftovers: 4, 7 B." in told
    lines = {line.split()[0]: line.split()[1:4] for line in told.splitlines() if line.startswith("  ")}
    assert lines["leftovers"] == ["4", "7", "B"]
    assert lines["failed"][0] == "1"
    assert lines["epochs"][0] == "1", "of first: 2, 4 were asked about; 1, 3, 6 are first, best, last; 5 is left"
    assert lines["runs"][0] == "5"
    assert lines["sweeps"][0] == "1"
    assert lines["checkpoints"][0] == "3"
    assert lines["cache"][0] == "2"
    assert "Nothing to remove" in asked(outputs)


def test_a_dry_run_lists_and_removes_nothing(outputs: Path):
    before = tree(outputs)
    told = asked(outputs, "all", "--dry-run")
    assert tree(outputs) == before
    for name in ("runs/whole", "runs/killed", "sweeps/layer-1", "checkpoints/begun", f"cache/{CONTENT}"):
        assert f"  {outputs}/{name}  (" in told
    assert f"{outputs}/sweeps/layer-1/failed" not in told, "it goes with its sweep"


def test_a_half_written_file_without_a_lock_is_left_to_its_process_and_to_the_next_hour(outputs: Path):
    mine = write(outputs / "cache" / f".a.{os.getpid()}.partial.safetensors")
    fresh = write(outputs / "cache" / ".b.99999999.partial.safetensors")
    old = write(outputs / "cache" / ".c.99999999.partial.safetensors")
    for path in (mine, old):
        os.utime(path, (1, 1))
    asked(outputs)
    assert mine.exists()
    assert fresh.exists()
    assert not old.exists()


def test_epochs_that_no_answer_was_made_from(outputs: Path):
    before = tree(outputs)
    assert "Removed epochs: 1, 7 B." in asked(outputs, "epochs", "--yes")
    assert before - tree(outputs) == {"checkpoints/first/epoch_005.safetensors"}


@pytest.mark.parametrize(
    ("words", "gone"),
    [
        (["runs"], ["runs/whole", "runs/course", "runs/killed", "runs/going_on"]),
        (["sweeps"], ["sweeps/layer-1"]),
        (["failed"], ["sweeps/layer-1/failed"]),
        (["cache", "checkpoints"], [f"cache/{PARSED}", f"cache/{CONTENT}", "checkpoints/first"]),
    ],
)
def test_what_is_named_goes(outputs: Path, words: list[str], gone: list[str]):
    before = tree(outputs)
    asked(outputs, *words, "--yes")
    assert not any((outputs / name).exists() for name in gone)
    places = words if "failed" not in words else ["sweeps/layer-1/failed"]
    assert {name for name in before if not name.startswith(tuple(f"{place}/" for place in places))} == tree(outputs)


def test_all_leaves_only_what_is_not_known(outputs: Path):
    notes = write(outputs / "notes.txt")
    mine = write(outputs / "runs" / "mine" / "notes.txt")
    asked(outputs, "all", "--yes")
    assert {path for path in outputs.rglob("*") if path.is_file()} == {notes, mine}
    assert "notes.txt: not known here" in "\n".join(contents_table(outputs))


def test_what_a_living_process_holds_stays(outputs: Path):
    code = (
        "import sys; from pathlib import Path; from fervis.system.locks import exclusive\n"
        "outputs = Path(sys.argv[1])\n"
        "with exclusive(outputs, outputs / 'runs' / 'killed', 'works'):\n"
        "    print('held', flush=True); sys.stdin.readline()"
    )
    before = tree(outputs)
    with subprocess.Popen(
        [sys.executable, "-c", code, str(outputs)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        told = asked(outputs, "all", "--yes")
        assert f"Stays, since a process is at work: {outputs}/runs/killed" in told
        gone = before - tree(outputs)
        assert {name.split("/")[0] for name in gone} == {"runs", "sweeps"}, "others may be read by that process"
        assert "runs/killed/.partial/figures/a.png" in tree(outputs)
        process.communicate("\n")
    asked(outputs, "all", "--yes")
    assert tree(outputs) == set()


def test_a_sweep_with_a_job_at_work_stays_whole(outputs: Path):
    job = outputs / "sweeps" / "layer-1" / "killed"
    before = tree(outputs)
    with exclusive(outputs, job, "answers"):
        told = asked(outputs, "sweeps", "--yes")
    assert "but for 1 of them" in told
    assert tree(outputs) == before


def test_links_are_not_followed(outputs: Path, tmp_path: Path):
    elsewhere = run(tmp_path / "elsewhere")
    write(elsewhere / ".partial" / "a.png")
    (outputs / "runs" / "linked").symlink_to(elsewhere)
    (outputs / "runs" / "whole" / "figures" / "far").symlink_to(elsewhere)
    kept = tree(elsewhere)
    (outputs / "trainings").symlink_to(elsewhere)
    asked(outputs)
    told = asked(outputs, "all", "--yes")
    assert tree(elsewhere) == kept
    assert (outputs / "runs" / "linked").is_symlink()
    assert f"{outputs}/runs/linked" not in told
    assert not (outputs / "runs" / "whole").exists()
    assert "trainings: a link, which is not followed" in "\n".join(contents_table(outputs))


def test_a_folder_of_others_is_refused(tmp_path: Path):
    write(tmp_path / "cache" / "mine.safetensors")
    write(tmp_path / "runs" / "1" / "notes.txt")
    before = tree(tmp_path)
    with pytest.raises(ConfigError, match="no outputs folder of fervis"):
        asked(tmp_path, "all", "--yes")
    assert tree(tmp_path) == before
    with pytest.raises(ConfigError, match="there is no such folder"):
        asked(tmp_path / "nowhere")


def test_words_and_flags(outputs: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    with pytest.raises(ConfigError, match="Did you mean runs"):
        asked(outputs, "rnus")
    with pytest.raises(ConfigError, match="clean --force: there is no such flag"):
        asked(outputs, "runs", "--force")
    monkeypatch.chdir(tmp_path)
    assert "Removed leftovers: 2" in "\n".join(clean_outputs([])), "outputs is taken where nothing is said"
    monkeypatch.chdir(outputs)
    assert list(clean_outputs(["all"])) == ["There is no folder outputs; nothing to clean."]


@pytest.mark.parametrize(("answer", "gone"), [("y", True), ("n", False), ("", False)])
def test_a_person_is_asked(outputs: Path, answer: str, gone: bool, monkeypatch: pytest.MonkeyPatch):
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "r") as terminal:
        monkeypatch.setattr("sys.stdin", terminal)
        os.write(ours, f"{answer}\n".encode())
        asked(outputs, "runs")
    os.close(ours)
    assert (outputs / "runs" / "whole").exists() != gone


def test_where_nobody_can_be_asked_it_says_so(outputs: Path, monkeypatch: pytest.MonkeyPatch):
    before = tree(outputs)
    with open(os.devnull) as nothing:  # noqa: PTH123 - as a shell gives it
        monkeypatch.setattr("sys.stdin", nothing)
        with pytest.raises(ConfigError, match="--yes removes runs: 4"):
            asked(outputs, "runs")
    assert tree(outputs) == before


def test_half_removed_is_not_whole(outputs: Path, monkeypatch: pytest.MonkeyPatch):
    def stop(path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fervis.cli.clean.shutil.rmtree", stop)
    with pytest.raises(KeyboardInterrupt):
        asked(outputs, "runs", "--yes")
    assert len(list((outputs / "runs").glob("*/summary.json"))) == 1, "what says that it is whole goes first"
    with pytest.raises(KeyboardInterrupt):
        asked(outputs, "sweeps", "--yes")
    assert not list((outputs / "sweeps").glob("*/*/summary.json"))
    monkeypatch.undo()
    asked(outputs, "runs", "sweeps", "--yes")
    assert not any((outputs / "runs").iterdir())


def test_it_needs_no_torch():
    code = "import sys, fervis.cli.clean; print({'torch', 'hydra', 'numpy'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.stdout == "set()\n"


def test_sizes_in_words():
    assert [format_size(size) for size in (0, 999, 1000, 12_345_678, 2_500_000_000)] == [
        *("0 B", "999 B", "1.0 kB", "12.3 MB", "2.5 GB")
    ]
