"""How numbers change over a sweep: what a series runs along, gaps, several seeds; from folders built by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.sweeps import answered, failed

from fervis.reporting.sweep.read import read_sweep
from fervis.reporting.sweep.trends import sweep_series


def test_numbers_of_the_jobs_own_layers_are_a_trend_over_layers(tmp_path: Path) -> None:
    for layer, sharpness in (("conv10", 3.0), ("conv2", 5.0)):
        answered(tmp_path, [f"layer={layer}"], {f"{layer}/sharpness": sharpness, "explained": 7})
    (trend,) = sweep_series(read_sweep(tmp_path))  # the same number everywhere is no trend
    assert (trend.quantity, trend.axis, trend.values) == ("sharpness", "layer", ("conv2", "conv10"))
    assert trend.lines == {"": [[5.0], [3.0]]}
    assert trend.ordered
    assert not trend.spaced


def test_layers_and_checkpoints_within_a_job_are_values_too(tmp_path: Path) -> None:
    numbers = {f"{epoch}/{layer}/a": epoch + offset for epoch in (1, 2) for layer, offset in (("c1", 0.1), ("c2", 0.2))}
    answered(tmp_path, ["layer=[c1,c2]", "checkpoint=[1,2]", "seed=0"], numbers)
    answered(tmp_path, ["layer=[c1,c2]", "checkpoint=[1,2]", "seed=1"], {k: v + 1 for k, v in numbers.items()})
    (trend,) = sweep_series(read_sweep(tmp_path))
    assert (trend.axis, trend.values) == ("checkpoint", ("1", "2"))
    assert trend.lines == {"c1": [[1.1, 2.1], [2.1, 3.1]], "c2": [[1.2, 2.2], [2.2, 3.2]]}
    assert trend.repeated
    assert trend.spaced


def test_trends_drop_axes_that_do_not_matter(tmp_path: Path) -> None:
    for layer in ("conv1", "conv2", "conv3"):
        for seed in (0, 1):
            answered(tmp_path, [f"layer={layer}", f"seed={seed}"], {"val/accuracy": 0.6 + seed / 100})
    (trend,) = sweep_series(read_sweep(tmp_path))
    assert (trend.axis, trend.values, trend.lines) == ("seed", ("0", "1"), {"": [[0.6], [0.61]]})
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
    for index, job in enumerate(jobs):
        answered(tmp_path, job, {"found": index**2 + 0.5})
    (trend,) = sweep_series(read_sweep(tmp_path))
    assert (trend.axis, list(trend.lines)) == (over, series)
    assert sum(len(there) for line in trend.lines.values() for there in line) == len(jobs)
    assert trend.repeated == any(axis.startswith("seed") for axis in sweeps)


def test_what_was_not_measured_is_a_gap(tmp_path: Path) -> None:
    answered(tmp_path, ["layer=conv1"], {"a": 1.0})
    answered(tmp_path, ["layer=conv2"], {})
    answered(tmp_path, ["layer=conv3"], {"a": 2.0})
    failed(tmp_path, ["layer=conv4"], "No.")
    (trend,) = sweep_series(read_sweep(tmp_path))
    assert (trend.values, trend.lines) == (("conv1", "conv3"), {"": [[1.0], [2.0]]})
