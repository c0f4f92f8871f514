"""A sweep's folder read back: states, order, results; from folders built by hand."""

from __future__ import annotations

from pathlib import Path

import yaml
from support.sweeps import answered, failed

from fervis.reporting.sweep.read import read_sweep


def names(sweep: Path, command: str = "") -> list[str]:
    return [job.name for job in read_sweep(sweep, command).jobs]


def test_layers_written_out_by_the_sweep_are_in_its_order(tmp_path: Path) -> None:
    for layer in ("stem", "block1", "head"):
        answered(tmp_path, [f"layer={layer}"])
    saved = {"hydra": {"overrides": {"task": ["layer=stem,block1,head", "seed=0"]}}}
    (tmp_path / "multirun.yaml").write_text(yaml.safe_dump(saved))
    assert names(tmp_path, "python -m fervis -m layer=each") == ["stem", "block1", "head"]
    assert read_sweep(tmp_path, "typed").command == "typed"
    assert read_sweep(tmp_path).command == "python -m fervis -m layer=stem,block1,head seed=0"


def test_failed_and_unfinished_jobs_are_distinguished(tmp_path: Path) -> None:
    answered(tmp_path, ["layer=conv1"])
    failed(tmp_path, ["layer=cnv2"], "layer=cnv2: there is no such layer.")
    (tmp_path / "conv3" / ".partial").mkdir(parents=True)
    (tmp_path / ".submitit").mkdir()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("not a job")
    sweep = read_sweep(tmp_path)
    assert [(job.name, job.state) for job in sweep.jobs] == [
        ("cnv2", "failed"),
        ("conv1", "answered"),
        ("conv3", "unfinished"),
    ]
    assert [sweep.count(state) for state in ("answered", "failed", "unfinished")] == [1, 1, 1]
    broken = sweep.jobs[0]
    assert (broken.swept, broken.error) == ({"layer": "cnv2"}, "layer=cnv2: there is no such layer.")
    assert broken.command == "python -m fervis layer=cnv2"
    assert sweep.job_label(sweep.jobs[2]) == "conv3"


def test_a_failure_next_to_a_result_is_that_of_a_repetition(tmp_path: Path) -> None:
    answered(tmp_path, ["layer=conv1"])
    failed(tmp_path, ["layer=conv1"], "The disk is full.")
    (job,) = read_sweep(tmp_path).jobs
    assert (job.state, job.error) == ("failed", "The disk is full.")


def test_a_job_is_read_whole(tmp_path: Path) -> None:
    folder = answered(tmp_path, ["layer=conv1"], {"conv1/sharpness": 0.5, "nothing": float("nan")}, warnings=("Few.",))
    (job,) = read_sweep(tmp_path).jobs
    assert job.numbers == {"conv1/sharpness": 0.5}
    assert job.own_numbers() == {"sharpness": 0.5}
    assert (job.seconds, job.warnings, job.caption) == (2.5, ("Few.",), "Seen at conv1.")
    assert job.figure == folder / "figures" / "overview.png"
    assert job.settings["trainer.epochs"] == 8
