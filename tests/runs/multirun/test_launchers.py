"""The same sweep by every launcher: the same arrays, the same failures, the same words; and how many threads."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from support.kill_and_resume import start

from fervis.errors import ConfigError
from fervis.runs.config import compose_config
from fervis.system.threads import all_cores, available_cores, choose_threads, thread_limit

Run = Callable[..., subprocess.CompletedProcess[str]]
TINY = [
    *("dataset.per_class_train=20", "dataset.per_class_val=5", "dataset.per_class_test=2", "trainer.epochs=1"),
    *("model.width=4", "visualizer.dpi=50"),
]
SWEEP = [*TINY, "-m", "layer=conv1,conv3", "explainer=saliency,smoothgrad"]
JOBLIB = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
SUBMITIT = ["hydra/launcher=submitit_local"]


def installed(name: str) -> pytest.MarkDecorator:
    missing = importlib.util.find_spec(name) is None
    return pytest.mark.skipif(missing, reason=f"needs {name}: pip install 'fervis-xai[launchers]'")


OTHERS = [
    pytest.param(JOBLIB, id="joblib", marks=installed("joblib")),
    pytest.param(SUBMITIT, id="submitit_local", marks=installed("submitit")),
]


def folders_of(done: subprocess.CompletedProcess[str]) -> dict[str, Path]:
    return {Path(line).name: Path(line) for line in done.stdout.splitlines()}


@pytest.fixture(scope="module")
def basic(fervis: Run, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    done = fervis(*SWEEP, cwd=tmp_path_factory.mktemp("basic"), OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    return folders_of(done)


@pytest.mark.parametrize("launcher", OTHERS)
def test_every_launcher_gives_the_same_bytes(basic: dict[str, Path], fervis: Run, tmp_path: Path, launcher: list[str]):
    done = fervis(*SWEEP, *launcher, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = folders_of(done)
    assert found.keys() == basic.keys()
    assert len(found) == 4
    for name, folder in found.items():
        assert (folder / "arrays.npz").read_bytes() == (basic[name] / "arrays.npz").read_bytes(), name
        assert (folder / "config.yaml").read_bytes() == (basic[name] / "config.yaml").read_bytes(), name
        assert json.loads((folder / "manifest.json").read_text())["threads"] == 1
    (sweep,) = (tmp_path / "outputs" / "sweeps").iterdir()
    assert sweep.name == next(iter(basic.values())).parent.name, "the launcher does not make it another sweep"
    assert all(name in (sweep / "index.html").read_text() for name in found)
    assert not (sweep / ".submitit" / "%j").exists()
    said = done.stderr.splitlines()
    assert all(line.startswith("fervis: ") for line in said), "no warning of a launcher's"
    assert sum("training on 140 faces" in line for line in said) == 1, "one job trains, and is heard"
    assert any(line.startswith("fervis: job 3 of 4: ") for line in said)
    assert sum(line.startswith(f"fervis: job {job}: ") for line in said for job in (1, 2, 3, 4)) >= 4
    assert not [path for path in tmp_path.iterdir() if path.name != "outputs"]


@pytest.mark.parametrize("launcher", [pytest.param([], id="basic"), *OTHERS])
def test_a_failing_job_is_told_the_same_way_by_each(fervis: Run, tmp_path: Path, launcher: list[str]):
    command = [*TINY, "checkpoint=initial", "-m", "layer=cnv1,conv1", *launcher]
    done = fervis(*command, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert len(done.stdout.splitlines()) == 1
    (path,) = tmp_path.glob("outputs/sweeps/*/*/failure.json")
    sentence = "layer=cnv1: there is no such layer. Did you mean conv1?"
    assert json.loads(path.read_text())["error"].startswith(sentence)
    assert json.loads(path.read_text())["overrides"] == [*TINY, "checkpoint=initial", "layer=cnv1"]
    assert done.stderr.splitlines()[-1].startswith(f"fervis: 1 of 2 jobs failed, the first with: {sentence}")
    assert sum(sentence in line for line in done.stderr.splitlines()) == 2, "once by the job, once at the end"
    assert sentence in (path.parent.parent / "index.html").read_text()


@installed("joblib")
def test_a_launcher_that_ends_early_leaves_a_page_and_says_how_to_go_on(fervis: Run, tmp_path: Path):
    (tmp_path / "mine.py").write_text("import os\ndef build(**told):\n    os._exit(9)\n")
    own = ["model=own", "model.path=mine.py", "checkpoint=initial", *TINY[:3]]
    done = fervis(*own, "-m", "layer=conv1,conv2", *JOBLIB, cwd=tmp_path)
    assert done.returncode == 1
    (told,) = [line for line in done.stderr.splitlines() if "The launcher ended before the sweep did" in line]
    assert "TerminatedWorkerError" in told
    assert "kept: 0 of 2 answers" in told


@installed("joblib")
def test_the_same_sweep_twice_at_once_does_the_work_once(tmp_path: Path):
    both = [start(tmp_path, [*SWEEP, *JOBLIB]) for _ in range(2)]
    told = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    errors = "".join(errors for _, errors in told)
    assert errors.count("training on") == 1
    assert errors.count("answered before") == 4
    assert sorted(told[0][0].splitlines()) == sorted(told[1][0].splitlines())
    assert len(list(tmp_path.glob("outputs/sweeps/*/*/summary.json"))) == 4


@installed("submitit")
def test_a_preempted_job_is_started_again_and_goes_on_with_its_training(fervis: Run, tmp_path: Path):
    psutil = pytest.importorskip("psutil")
    long = [*TINY, "trainer.epochs=6", "dataset.per_class_train=60"]
    process = start(tmp_path, [*long, "-m", "layer=conv1", *SUBMITIT])
    (course,) = awaited(lambda: list(tmp_path.glob("outputs/checkpoints/*/course.safetensors")))
    (job,) = [
        one for one in psutil.Process(process.pid).children(recursive=True) if "submitit.core._submit" in one.cmdline()
    ]
    job.send_signal(signal.SIGUSR2)
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert errors.count("training on") == 2, "the job began again"
    assert (course.parent / "epoch_006.safetensors").is_file()
    folder = Path(output.splitlines()[-1])
    (log,) = folder.parent.glob(".submitit/*/*_log.err")
    assert "this job is preempted" in log.read_text()
    undisturbed = fervis(*long, "layer=conv1", "outputs=elsewhere", cwd=tmp_path)
    assert undisturbed.returncode == 0, undisturbed.stderr
    (whole,) = folders_of(undisturbed).values()
    assert (folder / "arrays.npz").read_bytes() == (whole / "arrays.npz").read_bytes()


@installed("joblib")
def test_workers_end_with_the_command_that_launched_them(tmp_path: Path):
    psutil = pytest.importorskip("psutil")
    process = start(tmp_path, [*TINY[:3], *TINY[4:], "trainer.epochs=500", "-m", "layer=conv1,conv3", *JOBLIB])
    assert awaited(lambda: list(tmp_path.glob("outputs/checkpoints/*/course.safetensors")))
    workers = psutil.Process(process.pid).children(recursive=True)
    assert len(workers) >= 2
    process.kill()
    process.communicate(timeout=60)
    _, alive = psutil.wait_procs(workers, timeout=30)
    assert not alive


def awaited(look: Callable[[], list[Path]], seconds: float = 120) -> list[Path]:
    end = time.monotonic() + seconds
    while not (found := look()) and time.monotonic() < end:
        time.sleep(0.02)
    return found


@installed("submitit")
def test_the_slurm_preset_asks_for_gpus_memory_time_and_requeue(fervis: Run, tmp_path: Path):
    """By what it hands to sbatch, which is a script here that keeps it and refuses."""
    for name, script in {"srun": "exit 1", "sbatch": f'cp "$1" {tmp_path}/asked.sh; exit 1'}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    more = ["hydra.launcher.account=lab", "hydra.launcher.partition=gpus", "hydra.launcher.gpus_per_node=2"]
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = fervis(*TINY, "-m", "layer=conv1,conv3", "hydra/launcher=slurm", *more, cwd=tmp_path, PATH=path)
    assert done.returncode == 1
    assert "The launcher ended before the sweep did" in done.stderr
    asked = (tmp_path / "asked.sh").read_text().splitlines()
    flags = dict(line.removeprefix("#SBATCH --").partition("=")[::2] for line in asked if line.startswith("#SBATCH"))
    assert (
        flags.items()
        >= {
            "account": "lab",
            "partition": "gpus",
            "gpus-per-node": "2",
            "cpus-per-task": "8",
            "mem": "32GB",
            "time": "240",
            "requeue": "",
            "open-mode": "append",
            "signal": "USR2@120",
            "array": "0-1%2",
        }.items()
    )
    assert compose_config(["hydra/launcher=slurm"]).hydra.launcher.max_num_timeout == 10


def test_a_launcher_that_is_not_there_is_said_in_one_sentence(fervis: Run, tmp_path: Path):
    done = fervis(*TINY, "-m", "layer=conv1,conv3", "hydra/launcher=jobib", cwd=tmp_path)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "hydra/launcher=jobib: there is no such hydra/launcher. Did you mean joblib?" in line
    if importlib.util.find_spec("ray") is None:
        done = fervis(*TINY, "-m", "layer=conv1,conv3", "hydra/launcher=ray", cwd=tmp_path)
        assert (done.returncode, "pip install 'fervis-xai[ray]'" in done.stderr) == (2, True)


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_threads_are_chosen_by_the_question_alone():
    assert (choose_threads("auto"), choose_threads(3)) == (1, 3)
    for wrong in (0, -1, "many", True, 1.5):
        with pytest.raises(ConfigError, match=f"threads={wrong}: expected auto or a whole number"):
            choose_threads(wrong)


def test_computing_with_threads_leaves_them_as_they_were(two_threads: None):
    with thread_limit(3):
        assert torch.get_num_threads() == 3
        with thread_limit(1):
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 3
    assert torch.get_num_threads() == 2
    with pytest.raises(KeyError), thread_limit(1):
        raise KeyError
    assert torch.get_num_threads() == 2


def test_a_training_has_every_core_and_others_wait_for_it(two_threads: None, tmp_path: Path):
    begun, over = threading.Event(), []

    def train() -> None:
        begun.set()
        with all_cores(tmp_path, "cpu"):
            over.append("second")

    with all_cores(tmp_path, "cpu"):
        assert torch.get_num_threads() == len(os.sched_getaffinity(0)) == len(available_cores())
        second = threading.Thread(target=train)
        second.start()
        assert begun.wait(10)
        with all_cores(tmp_path, "cuda"), all_cores(tmp_path / "elsewhere", "cpu"):
            time.sleep(0.3)
        over.append("first")
    second.join(10)
    assert over == ["first", "second"]


def test_processes_that_train_together_share_the_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("fervis.system.threads.available_cores", lambda: tuple(range(8)))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    with all_cores(tmp_path, "cpu"):
        assert torch.get_num_threads() == 2
