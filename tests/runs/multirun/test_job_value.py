"""What a job returns to a sweeper: its folder, a number of its answer, or NaN where it failed."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra.types import RunMode

from fervis.cli import hydra_app
from fervis.errors import ConfigError
from fervis.runs.config import compose_config, run_key, to_run_config
from fervis.runs.multirun.job_value import job_value


def summary(folder: Path, **numbers: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "summary.json").write_text(json.dumps({"numbers": numbers}))
    return folder


def test_a_number_is_read_from_the_summary(tmp_path: Path):
    assert job_value(summary(tmp_path, deletion=0.25, explained=7), "deletion") == 0.25
    with pytest.raises(ConfigError, match=r"value=deltion: the answer has no such number. Did you mean deletion\?"):
        job_value(tmp_path, "deltion")


def test_the_value_changes_no_answer():
    keys = {run_key(to_run_config(compose_config(["model.weights=fer2013", *more]))) for more in ([], ["value=iou"])}
    assert len(keys) == 1
    with pytest.raises(ConfigError, match="value=: expected the name of a number of the answer"):
        to_run_config(compose_config(["value=''"]))


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a job whose answer has one number, deletion."""
    folder = tmp_path / "sweep" / "job"
    monkeypatch.setattr(
        hydra_app.HydraConfig,
        "get",
        lambda: SimpleNamespace(
            runtime=SimpleNamespace(output_dir=str(folder), choices={"trainer": "quick"}),
            sweep=SimpleNamespace(dir=str(folder.parent)),
            mode=RunMode.MULTIRUN,
            overrides=SimpleNamespace(task=[]),
            job=SimpleNamespace(num=0),
        ),
    )
    folder.mkdir(parents=True)
    monkeypatch.setattr(hydra_app, "run_config", lambda *_: summary(folder, deletion=0.5))
    return folder


def test_a_job_returns_its_folder_or_the_number_that_is_named(job: Path):
    assert hydra_app.run_job(compose_config([]), []) == str(job)
    assert hydra_app.run_job(compose_config(["value=deletion"]), []) == 0.5


def test_a_job_that_fails_returns_no_number(job: Path):
    returned = hydra_app.run_job(compose_config(["value=insertion"]), [])
    assert isinstance(returned, float)
    assert math.isnan(returned)
    failure = json.loads((job / "failure.json").read_text())
    assert failure["code"] == 2
    assert failure["error"].startswith("value=insertion: the answer has no such number.")
