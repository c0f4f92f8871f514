"""How the command feels: interrupted and gone on with, quiet, coloured on a terminal, with bars and a readable help."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shlex
import shutil
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from safetensors import safe_open
from support.command import ROOT

from fervis.cli.command_table import COMMANDS
from fervis.cli.help import help_page, option_help
from fervis.core.registry import KINDS, names
from fervis.runs.config import RunConfig, sweep_name
from fervis.system.signals import Interrupted, interruption_message

TINY = [
    "model.width=4",
    *(f"dataset.per_class_{split}={count}" for split, count in (("train", 40), ("val", 8), ("test", 4))),
]
LONG = [*TINY, "trainer.epochs=5", "visualizer.dpi=40"]
QUICK = [*TINY, "trainer.epochs=1", "visualizer.dpi=40"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fervis", *arguments]
    return subprocess.run(command, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)


def stopped(
    *arguments: str, cwd: Path, when: Callable[[], bool], number: signal.Signals = signal.SIGINT
) -> subprocess.CompletedProcess[str]:
    """Run the command until ``when`` says so, then send a signal; what it said and its exit code."""
    command = [sys.executable, "-m", "fervis", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=cwd, env=ENVIRONMENT, text=True, **pipes) as process:
        end = time.monotonic() + 120
        while not when():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < end
            time.sleep(0.005)
        process.send_signal(number)
        out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess(command, process.returncode, out, err)


def last_sentence(done: subprocess.CompletedProcess[str]) -> tuple[str, list[str]]:
    """What is said of what is kept, and the command that is said to go on, as a shell would split it."""
    assert "Traceback" not in done.stderr
    said, _, command = done.stderr.splitlines()[-1].partition(" To go on: ")
    return said, shlex.split(command)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a training and a sweep ran without interruption."""
    folder = tmp_path_factory.mktemp("undisturbed")
    for arguments in ([*LONG], [*QUICK, "-m", "layer=conv1,conv2,conv3"]):
        done = run(*arguments, cwd=folder)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def parsed(undisturbed: Path, tmp_path: Path) -> Path:
    """A folder of its own, with the drawn faces."""
    shutil.copytree(undisturbed / "outputs" / "cache", tmp_path / "outputs" / "cache")
    return tmp_path


def weights(folder: Path) -> dict[str, bytes]:
    found = (folder / "outputs" / "checkpoints").glob("*/epoch_*.safetensors")
    return {f"{path.parent.name}/{path.name}": path.read_bytes() for path in found}


@pytest.mark.parametrize(
    ("number", "code", "word"), [("SIGINT", 130, "Interrupted"), ("SIGTERM", 143, "Ended by SIGTERM")]
)
def test_an_interrupted_training_goes_on_by_the_command_it_names(
    parsed: Path, undisturbed: Path, number: str, code: int, word: str
):
    checkpoints = parsed / "outputs" / "checkpoints"

    def two_epochs() -> bool:
        return bool(list(checkpoints.glob("*/epoch_002.safetensors")))

    done = stopped(*LONG, cwd=parsed, when=two_epochs, number=signal.Signals[number])
    assert done.returncode == code, done.stderr
    said, command = last_sentence(done)
    (folder,) = checkpoints.iterdir()
    with safe_open(folder / "course.safetensors", framework="pt") as course:
        epochs = len(json.loads(course.metadata()["course"])["history"])
    assert said == f"fervis: {word}; kept: {epochs} of 5 epochs of the network in training."
    assert 1 <= epochs < 5
    assert command == [sys.executable, "-m", "fervis", *LONG]
    assert not list((parsed / "outputs").rglob("*.partial*")), "nothing half-written is left"
    assert not (parsed / "outputs" / "runs").exists() or not any((parsed / "outputs" / "runs").iterdir())
    if number == "SIGTERM":
        return
    again = subprocess.run(command, cwd=parsed, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
    assert again.returncode == 0, again.stderr
    mine, theirs = weights(parsed), weights(undisturbed)
    assert mine == {name: theirs[name] for name in mine}, "to the bit that of an undisturbed training"
    assert len(mine) == 5


def test_an_interrupted_sweep_stops_as_a_whole_and_goes_on(parsed: Path, undisturbed: Path):
    shutil.copytree(undisturbed / "outputs" / "checkpoints", parsed / "outputs" / "checkpoints")
    question = [*QUICK, "-m", "layer=conv1,conv2,conv3"]
    sweeps = parsed / "outputs" / "sweeps"
    done = stopped(*question, cwd=parsed, when=lambda: bool(list(sweeps.glob("*/*/summary.json"))))
    assert done.returncode == 130, done.stderr
    said, command = last_sentence(done)
    (sweep,) = sweeps.iterdir()
    answered = {path.parent.name for path in sweep.glob("*/summary.json")}
    assert 1 <= len(answered) < 3, "the sweep is stopped, not one of its jobs"
    page = f"outputs/sweeps/{sweep.name}/index.html"
    assert said == f"fervis: Interrupted; kept: {len(answered)} of 3 answers of the sweep (so far: {page})."
    assert all(name in (parsed / page).read_text() for name in answered)
    assert command == [sys.executable, "-m", "fervis", *question]
    again = subprocess.run(command, cwd=parsed, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("answered before") == len(answered)
    assert "job 3 of 3: layer=conv3" in again.stderr
    whole = undisturbed / "outputs" / "sweeps" / sweep.name
    assert sorted(path.name for path in whole.iterdir()) == sorted(path.name for path in sweep.iterdir())
    for job in sweep.glob("*/arrays.npz"):
        assert job.read_bytes() == (whole / job.parent.name / "arrays.npz").read_bytes()


def test_an_interrupted_sweep_of_trainings_tells_those_that_are_whole(parsed: Path):
    question = ["train", "-m", *TINY, "trainer.epochs=2", "seed=0,1,2"]
    checkpoints = parsed / "outputs" / "checkpoints"
    done = stopped(*question, cwd=parsed, when=lambda: len(list(checkpoints.glob("*/metrics.csv"))) == 2)
    assert done.returncode == 130, done.stderr
    said, command = last_sentence(done)
    assert re.fullmatch(
        r"fervis: Interrupted; kept: 1 of 3 trainings and \d of 2 epochs of the network in training\.", said
    )
    assert command[3:] == question


def test_the_second_signal_ends_at_once():
    code = (
        "import time; from fervis.system.signals import handle_signals\n"
        "with handle_signals():\n"
        "    try:\n"
        "        print('ready', flush=True); time.sleep(60)\n"
        "    finally:\n"
        "        print('cleaning', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    ) as process:
        assert process.stdout is not None
        begun = time.monotonic()
        for word in ("ready\n", "cleaning\n"):
            assert process.stdout.readline() == word
            process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 130
        assert time.monotonic() - begun < 20


def test_what_is_said_at_the_end():
    error = Interrupted(signal.SIGTERM)
    assert error.code == 143
    assert interruption_message(error, "x") == "Ended by SIGTERM; nothing half-written is left. To go on: x"
    error.add_note("the inner")
    error.add_note("the outer")
    assert interruption_message(error, "x") == "Ended by SIGTERM; kept: the outer and the inner. To go on: x"
    assert interruption_message(KeyboardInterrupt(), "x").startswith("Interrupted;")


def test_quiet_says_nothing_but_the_last_line(undisturbed: Path):
    single = run("-q", *QUICK, "layer=conv4", cwd=undisturbed)
    sweep = run(*QUICK, "-m", "layer=conv1,conv5", "--quiet", cwd=undisturbed)
    trained = run("train", *QUICK, "-q", cwd=undisturbed)
    for done, lines in ((single, 1), (sweep, 2), (trained, None)):
        assert (done.returncode, done.stderr) == (0, "")
        assert Path(done.stdout.splitlines()[-1]).is_dir()
        assert lines is None or len(done.stdout.splitlines()) == lines
    assert "quiet=true" not in (Path(trained.stdout.splitlines()[-1]) / "card.md").read_text()
    assert run(*QUICK, "lyer=conv4", "-q", cwd=undisturbed).stderr.startswith("fervis: lyer: there is no such key.")


def test_asked_again_or_quietly_it_is_the_same_sweep():
    swept = ["layer=conv1,conv2", "seed=1"]
    assert sweep_name(swept) == sweep_name([*swept, "quiet=true"]) == sweep_name(["rerun=true", *swept])
    assert sweep_name(swept) != sweep_name(["layer=conv1,conv2", "seed=2"])


def on_a_terminal(command: Sequence[str], **environment: str) -> str:
    """What a command shows on a terminal of its own."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    environment = {**ENVIRONMENT, "TERM": "xterm", **environment}
    kept = {name: value for name, value in environment.items() if name != "NO_COLOR" or "NO_COLOR" in environment}
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=kept) as process:
        os.close(theirs)
        shown = b""
        while True:
            if select.select([ours], [], [], 0.1)[0]:
                try:
                    shown += os.read(ours, 65536)
                except OSError:  # the other end is closed
                    break
            elif process.poll() is not None:
                break
    os.close(ours)
    return shown.decode()


def test_colours_only_on_a_terminal_that_shows_them(tmp_path: Path):
    mistake = [sys.executable, "-m", "fervis", "lst"]
    assert on_a_terminal(mistake, NO_COLOR="").startswith("\x1b[31mfervis:\x1b[0m lst: expected key=value")
    for plain in ({"NO_COLOR": "1"}, {"NO_COLOR": "", "TERM": "dumb"}):
        assert on_a_terminal(mistake, **plain).startswith("fervis: lst: expected key=value")
    assert "\x1b" not in run("lst", cwd=tmp_path).stderr


WORDS = """
import logging
from fervis.system.console import SUCCESS, configure_logging
configure_logging(quiet={quiet})
log = logging.getLogger("fervis")
log.info("plain"); log.info("done", extra=SUCCESS); log.warning("careful"); log.error("wrong")
"""


def test_the_colour_says_what_kind_of_word_it_is():
    shown = on_a_terminal([sys.executable, "-c", WORDS.format(quiet=False)], NO_COLOR="").split("\r\n")
    assert shown[:4] == [
        "fervis: plain",
        "\x1b[32mfervis: done\x1b[0m",
        "\x1b[33mfervis: careful\x1b[0m",
        "\x1b[31mfervis:\x1b[0m wrong",
    ]
    quiet = on_a_terminal([sys.executable, "-c", WORDS.format(quiet=True)], NO_COLOR="1").split("\r\n")
    assert quiet[:2] == ["fervis: careful", "fervis: wrong"]


BAR = """
import time
from fervis.system import progress as progress_bar
progress_bar.DELAY = {delay}
with progress_bar.quiet_progress({quiet}):
    for _ in progress_bar.progress(range(8), "counting", "thing"): time.sleep(0.05)
"""


def test_bars_on_a_terminal_for_what_takes_long():
    def shown(delay: float, quiet: bool) -> str:
        return on_a_terminal([sys.executable, "-c", BAR.format(delay=delay, quiet=quiet)])

    assert re.search(r"counting: +\d+%.* \d/8 ", shown(0.1, quiet=False))
    assert shown(60, quiet=False).strip() == ""
    assert shown(0.1, quiet=True).strip() == ""
    piped = subprocess.run(
        [sys.executable, "-c", BAR.format(delay=0, quiet=False)], capture_output=True, text=True, env=ENVIRONMENT
    )
    assert piped.stderr == ""


def test_bars_of_the_command(tmp_path: Path):
    code = "import sys; from fervis.system import progress; progress.DELAY = 0\n"
    code += "from fervis.cli.main import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", code, "audit", *TINY[1:], f"outputs={tmp_path}"]
    assert "drawing faces: " in on_a_terminal(command)
    shutil.rmtree(tmp_path / "cache")
    assert "drawing faces: " not in on_a_terminal([*command, "-q"])


def test_help_tells_all_there_is_within_a_page(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "200")
    page = help_page([])
    lines = page.splitlines()
    assert max(map(len, lines)) <= 100
    assert len(lines) <= 75
    settings = {*RunConfig.__dataclass_fields__} - {*KINDS, "parts"}
    assert settings <= set(re.findall(r"^  (\w+)=", page, re.MULTILINE))
    assert {*COMMANDS, *KINDS, "experiment"} <= set(re.findall(r"^  ([\w-]+) ", page, re.MULTILINE))
    words = set(re.findall(r"\w+", page))
    assert all(name in words for kind in (*KINDS, "experiment") for name in names(kind))
    assert "vgg8*" in page


def test_help_of_a_choice_is_about_its_settings():
    told = help_page(["explainer=lime", "trainer=quick"])
    assert told.startswith("explainer=lime: LIME: superpixels of the face")
    assert re.search(r"^  explainer\.alpha=1\.0 +of the ridge regression \(a number above 0\)$", told, re.MULTILINE)
    assert re.search(r"^  trainer\.epochs=8 +a whole number from 1$", told, re.MULTILINE), "quick's own"
    assert re.search(r"^  trainer\.lr=0\.1 +highest learning rate \(a number from 0\)$", told, re.MULTILINE), (
        "supervised's"
    )
    assert option_help("tracker", "none").endswith("It has no settings.")


@pytest.mark.parametrize("word", list(COMMANDS))
def test_each_command_tells_its_use(word: str, capsys: pytest.CaptureFixture[str]):
    from fervis.cli.main import main as command

    assert command([word, "--help"]) == 0
    told = capsys.readouterr().out
    assert told.startswith(f"python -m fervis {word}\n\n")
    assert f"{word} " in told.split("\n\n", 1)[1]
    assert "Raises" not in told


def test_version_and_mistaken_help(tmp_path: Path):
    assert re.fullmatch(
        r"fervis [\d.]+ \(Python 3[\d.]+, torch [\d.]+\S*, hydra-core [\d.]+\)\n", run("--version", cwd=tmp_path).stdout
    )
    done = run("explainer=lmie", "--help", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Did you mean lime?" in done.stderr
