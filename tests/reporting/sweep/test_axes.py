"""What a sweep swept, read from its jobs' commands and configs; from folders built by hand."""

from __future__ import annotations

from pathlib import Path

from support.sweeps import answered, failed

from fervis.reporting.sweep.read import read_sweep


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
    assert sweep.job_label(sweep.jobs[1]) == "conv2 · lime"


def test_configs_alone_determine_the_axes(tmp_path: Path) -> None:
    for layer in ("conv1", "conv2"):
        for explainer in ("saliency", "lime"):
            answered(tmp_path, [f"layer={layer}", f"explainer={explainer}"], command=False)
    assert dict(read_sweep(tmp_path).axes) == {"explainer.name": ("lime", "saliency"), "layer": ("conv1", "conv2")}


def test_a_choice_that_no_setting_names_is_an_axis_by_its_own_name(tmp_path: Path) -> None:
    answered(tmp_path, ["trainer=quick"])
    answered(tmp_path, ["trainer=long"])
    sweep = read_sweep(tmp_path, "python -m fervis -m trainer=quick,long")
    assert dict(sweep.axes) == {"trainer": ("quick", "long")}
    assert [sweep.job_label(job) for job in sweep.jobs] == ["trainer quick", "trainer long"]


def test_how_jobs_ran_is_no_axis(tmp_path: Path) -> None:
    answered(tmp_path, ["seed=0", "device=cpu"])
    answered(tmp_path, ["seed=1", "device=cuda"])
    assert list(read_sweep(tmp_path).axes) == ["seed"]


def test_values_are_compared_as_they_were_resolved(tmp_path: Path) -> None:
    answered(tmp_path, ["layer=[conv1,conv2]", "trainer.lr=0.001"])
    answered(tmp_path, ["layer=conv3", "trainer.lr=0.01"])
    failed(tmp_path, ["layer=[conv1,conv2]", "trainer.lr=1e-3"], "No.")
    assert dict(read_sweep(tmp_path).axes) == {"layer": ("conv1, conv2", "conv3"), "trainer.lr": ("0.001", "0.01")}
