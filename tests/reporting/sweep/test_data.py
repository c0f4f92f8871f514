"""A sweep's folder read back: axes, order, states, numbers, trends; from folders built by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from support.sweeps import answered, failed

from fervis.reporting.sweep.data import Job, natural_key, order_values, read_sweep
from fervis.reporting.sweep.trends import sweep_series


def names(sweep: Path, command: str = "") -> list[str]:
    return [job.name for job in read_sweep(sweep, command).jobs]


def test_axes_are_what_was_swept_in_the_order_of_the_command(tmp_path: Path) -> None:
    for layer in ("conv2", "conv10"):
        for explainer in ("saliency", "lime", "maps"):
            answered(tmp_path, [f"layer={layer}", f"explainer={explainer}", "seed=3"])
    # An explainer's own settings and its visualizer follow from it, and the seed is the same everywhere.
    assert dict(read_sweep(tmp_path).axes) == {
        "layer": ("conv2", "conv10"),
        "explainer.name": ("lime", "maps", "saliency"),
    }
    command = "python -m fervis -m layer=conv10,conv2 explainer=saliency,lime,maps seed=3"
    sweep = read_sweep(tmp_path, command)
    assert sweep.axes["explainer.name"] == ("saliency", "lime", "maps")
    assert [job.name for job in sweep.jobs] == [
        *("conv2-saliency-3", "conv2-lime-3", "conv2-maps-3"),
        *("conv10-saliency-3", "conv10-lime-3", "conv10-maps-3"),
    ]
    assert sweep.jobs[1].swept == {"layer": "conv2", "explainer.name": "lime"}
    assert sweep.named(sweep.jobs[1]) == "conv2 · lime"


def test_configs_alone_tell_the_axes(tmp_path: Path) -> None:
    for layer in ("conv1", "conv2"):
        for explainer in ("saliency", "lime"):
            answered(tmp_path, [f"layer={layer}", f"explainer={explainer}"], command=False)
    assert dict(read_sweep(tmp_path).axes) == {"explainer.name": ("lime", "saliency"), "layer": ("conv1", "conv2")}


def test_a_choice_that_no_setting_names_is_an_axis_by_its_own_name(tmp_path: Path) -> None:
    answered(tmp_path, ["trainer=quick"])
    answered(tmp_path, ["trainer=long"])
    sweep = read_sweep(tmp_path, "python -m fervis -m trainer=quick,long")
    assert dict(sweep.axes) == {"trainer": ("quick", "long")}
    assert [sweep.named(job) for job in sweep.jobs] == ["trainer quick", "trainer long"]


def test_how_jobs_ran_is_no_axis(tmp_path: Path) -> None:
    answered(tmp_path, ["seed=0", "device=cpu"])
    answered(tmp_path, ["seed=1", "device=cuda"])
    assert list(read_sweep(tmp_path).axes) == ["seed"]


def test_values_are_compared_as_they_were_resolved(tmp_path: Path) -> None:
    answered(tmp_path, ["layer=[conv1,conv2]", "trainer.lr=0.001"])
    answered(tmp_path, ["layer=conv3", "trainer.lr=0.01"])
    failed(tmp_path, ["layer=[conv1,conv2]", "trainer.lr=1e-3"], "No.")
    assert dict(read_sweep(tmp_path).axes) == {"layer": ("conv1, conv2", "conv3"), "trainer.lr": ("0.001", "0.01")}


def test_natural_order() -> None:
    words = ["conv10", "last", "2", "input", "conv2", "layer1.10.conv1", "10", "layer1.9.conv1", "best"]
    expected = ["input", "2", "10", "best", "conv2", "conv10", "last", "layer1.9.conv1", "layer1.10.conv1"]
    assert sorted(words, key=natural_key) == expected
    assert order_values({"conv10", "conv2"}, ["conv10", "conv2"]) == ["conv2", "conv10"]
    assert order_values({"input", "fc1", "conv7"}, ["input", "conv7", "fc1"]) == ["input", "conv7", "fc1"]
    assert order_values({"input", "fc1", "conv7"}, ["conv7"]) == ["input", "conv7", "fc1"]


def test_layers_written_out_by_the_sweep_are_in_its_order(tmp_path: Path) -> None:
    for layer in ("stem", "block1", "head"):
        answered(tmp_path, [f"layer={layer}"])
    kept = {"hydra": {"overrides": {"task": ["layer=stem,block1,head", "seed=0"]}}}
    (tmp_path / "multirun.yaml").write_text(yaml.safe_dump(kept))
    assert names(tmp_path, "python -m fervis -m layer=each") == ["stem", "block1", "head"]
    assert read_sweep(tmp_path, "told").command == "told"
    assert read_sweep(tmp_path).command == "python -m fervis -m layer=stem,block1,head seed=0"


def test_failed_and_unfinished_jobs_are_told_apart(tmp_path: Path) -> None:
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
    assert sweep.named(sweep.jobs[2]) == "conv3"


def test_a_failure_beside_an_answer_is_that_of_asking_again(tmp_path: Path) -> None:
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


def test_a_layer_of_several_keeps_its_name() -> None:
    numbers = {"conv1/a": 1.0, "conv2/a": 2.0, "b": 3.0}
    assert Job("x", "answered", numbers=numbers, layers=("conv1", "conv2")).own_numbers() == numbers
    both = {"conv1/a": 1.0, "a": 2.0}
    assert Job("x", "answered", numbers=both, layers=("conv1",)).own_numbers() == both


def test_numbers_of_the_jobs_own_layers_are_a_trend_over_layers(tmp_path: Path) -> None:
    for layer, sharpness in (("conv10", 3.0), ("conv2", 5.0)):
        answered(tmp_path, [f"layer={layer}"], {f"{layer}/sharpness": sharpness, "explained": 7})
    (trend,) = sweep_series(read_sweep(tmp_path))  # the same number everywhere is no trend
    assert (trend.quantity, trend.over, trend.places) == ("sharpness", "layer", ("conv2", "conv10"))
    assert trend.series == {"": [[5.0], [3.0]]}
    assert trend.ordered
    assert not trend.spaced


def test_layers_and_checkpoints_within_a_job_are_places_too(tmp_path: Path) -> None:
    numbers = {f"{epoch}/{layer}/a": epoch + offset for epoch in (1, 2) for layer, offset in (("c1", 0.1), ("c2", 0.2))}
    answered(tmp_path, ["layer=[c1,c2]", "checkpoint=[1,2]", "seed=0"], numbers)
    answered(tmp_path, ["layer=[c1,c2]", "checkpoint=[1,2]", "seed=1"], {k: v + 1 for k, v in numbers.items()})
    (trend,) = sweep_series(read_sweep(tmp_path))
    assert (trend.over, trend.places) == ("checkpoint", ("1", "2"))
    assert trend.series == {"c1": [[1.1, 2.1], [2.1, 3.1]], "c2": [[1.2, 2.2], [2.2, 3.2]]}
    assert trend.repeated
    assert trend.spaced


def test_trends_drop_axes_that_do_not_matter(tmp_path: Path) -> None:
    for layer in ("conv1", "conv2", "conv3"):
        for seed in (0, 1):
            answered(tmp_path, [f"layer={layer}", f"seed={seed}"], {"val/accuracy": 0.6 + seed / 100})
    (trend,) = sweep_series(read_sweep(tmp_path))
    assert (trend.over, trend.places, trend.series) == ("seed", ("0", "1"), {"": [[0.6], [0.61]]})
    assert not trend.ordered


@pytest.mark.parametrize(
    ("sweeps", "over", "series"),
    [
        (("explainer=lime,saliency", "seed=0,1"), "explainer", [""]),
        (("explainer=lime,saliency", "model.width=8,16"), "model.width", ["lime", "saliency"]),
        (("layer=conv1,conv2", "model.width=8,16,32"), "model.width", ["conv1", "conv2"]),
        (("seed=0,1", "trainer.epochs=4,8", "layer=a1,a2,a3"), "layer", ["epochs 4", "epochs 8"]),
    ],
)
def test_what_a_trend_runs_along(tmp_path: Path, sweeps: tuple[str, ...], over: str, series: list[str]) -> None:
    jobs: list[list[str]] = [[]]
    for axis in sweeps:
        key, _, values = axis.partition("=")
        jobs = [[*job, f"{key}={value}"] for job in jobs for value in values.split(",")]
    for place, job in enumerate(jobs):
        answered(tmp_path, job, {"found": place**2 + 0.5})
    (trend,) = sweep_series(read_sweep(tmp_path))
    assert (trend.over, list(trend.series)) == (over, series)
    assert sum(len(there) for line in trend.series.values() for there in line) == len(jobs)
    assert trend.repeated == any(axis.startswith("seed") for axis in sweeps)


def test_what_was_not_measured_is_a_gap(tmp_path: Path) -> None:
    answered(tmp_path, ["layer=conv1"], {"a": 1.0})
    answered(tmp_path, ["layer=conv2"], {})
    answered(tmp_path, ["layer=conv3"], {"a": 2.0})
    failed(tmp_path, ["layer=conv4"], "No.")
    (trend,) = sweep_series(read_sweep(tmp_path))
    assert (trend.places, trend.series) == (("conv1", "conv3"), {"": [[1.0], [2.0]]})
