"""The W&B report of a sweep: built without a network, and saved to a server that is played here."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from support.pages import PNG

from fervis.errors import ConfigError, RunError
from fervis.reporting.wandb_report import write_wandb_report

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:wandb_workspaces.*", "ignore:Pydantic V1")
interface = pytest.importorskip("wandb_workspaces.reports.v2.interface", exc_type=ImportError)


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Two answered layers and one that failed."""
    folder = tmp_path / "layer-5e0c77d1"
    for layer in ("conv1", "conv3"):
        job = folder / f"vgg8-saliency-{layer}"
        (job / "figures").mkdir(parents=True)
        (job / "figures" / "overview.png").write_bytes(PNG)
        config = {
            "explainer": {"name": "saliency"},
            "model": {"name": "vgg8", "weights": None},
            "layer": layer,
            "tracker": {"name": "wandb", "project": "faces", "entity": None},
        }
        (job / "config.yaml").write_text(yaml.safe_dump(config))
        command = f"python -m fervis layer={layer} tracker=wandb"
        (job / "manifest.json").write_text(json.dumps({"command": command, "seconds": {"explain": 1.0}}))
        entries = [{"row": 299, "label": "sad", "layer": layer}]
        figures = [{"file": "figures/overview.png", "caption": "Faces."}]
        told = {"title": layer, "entries": entries, "numbers": {"strongest_tenth": 0.5}, "figures": figures}
        (job / "summary.json").write_text(json.dumps(told))
    (folder / "vgg8-saliency-conv9").mkdir()
    failure = {"error": "no such layer", "code": 2, "overrides": ["layer=conv9", "tracker=wandb"], "command": ""}
    (folder / "vgg8-saliency-conv9" / "failure.json").write_text(json.dumps(failure))
    return folder


def test_without_save_it_says_what_it_would_show(
    sweep: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody() -> None:
        raise AssertionError("no server is asked")

    monkeypatch.setattr(interface, "_get_api", nobody)
    write_wandb_report([str(sweep), "--entity=lab"])
    assert capsys.readouterr().out.splitlines() == [
        "fervis: layer (lab/faces): 2 of 3 questions answered, 1 not",
        "Numbers:",
        "  ParallelCoordinatesPlot layer, strongest_tenth",
        "  BarPlot strongest_tenth",
        "Curves of the trainings:",
        *(f"  LinePlot {name}" for name in ("train/loss", "val/loss", "train/accuracy", "val/accuracy")),
        "Figures:",
        "  MediaBrowser overview",
        "Faces:",
        "  WeavePanelSummaryTable table_of_faces",
    ]


def played(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A server that takes every report; what it was sent."""
    sent: list[dict[str, Any]] = []
    account = SimpleNamespace(
        default_entity="me",
        projects=lambda entity: [SimpleNamespace(name="faces")],
        settings={"base_url": "http://here"},
    )

    def execute(api: object, query: object, told: dict[str, Any]) -> dict[str, Any]:
        if "spec" not in told:
            return {"project": {"internalId": "inside"}}
        sent.append(told)
        view = {"id": "abc", "displayName": told["displayName"], "description": "", "spec": json.loads(told["spec"])}
        view |= {"project": {"name": "faces", "entityName": "me"}, "name": told["name"]}
        return {"upsertView": {"view": view}}

    monkeypatch.setattr(interface, "_get_api", lambda: account)
    monkeypatch.setattr(interface, "get_app_url", lambda api: "http://here")
    monkeypatch.setattr(interface, "execute_graphql", execute)
    monkeypatch.setattr("wandb.Api", lambda: account)
    return sent


def test_saved_it_is_about_the_runs_of_the_sweep(
    sweep: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = played(monkeypatch)
    write_wandb_report([str(sweep), "--save"])
    assert capsys.readouterr().out.splitlines()[-1].startswith("http://here/me/faces/reports/")
    (told,) = sent
    assert (told["entityName"], told["projectName"]) == ("me", "faces")
    grids = [block for block in json.loads(told["spec"])["blocks"] if block["type"] == "panel-grid"]
    assert len(grids) == 4
    for grid in grids:
        (runs,) = grid["metadata"]["runSets"]
        filters = json.dumps(runs["filters"])
        assert '"group"' in filters
        assert '"layer-5e0c77d1"' in filters
    panels = [panel for grid in grids for panel in grid["metadata"]["panelBankSectionConfig"]["panels"]]
    columns = [column["accessor"] for column in panels[0]["config"]["columns"]]
    assert columns == ["config:layer.value", "summary:strongest_tenth"]
    assert {panel["viewType"] for panel in panels} == {
        "Parallel Coordinates Plot", "Bar Chart", "Run History Line Plot", "Media Browser", "Weave"
    }  # fmt: skip


def test_what_is_wrong_is_said_in_a_sentence(
    sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb

    with pytest.raises(ConfigError, match=r"there is no such folder\.$"):
        write_wandb_report([str(tmp_path / "nowhere")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"holds no answered job of a sweep\.$"):
        write_wandb_report([str(tmp_path / "empty")])

    def no_key() -> None:
        raise wandb.errors.UsageError("No API key configured.")

    monkeypatch.setattr("wandb.Api", no_key)
    with pytest.raises(ConfigError, match=r"^wandb_report --save: no API key was found"):
        write_wandb_report([str(sweep), "--save"])
    played(monkeypatch)

    def refuse(*_: object) -> None:
        raise ValueError("Run set not found.\nMore words.")

    monkeypatch.setattr(interface, "execute_graphql", refuse)
    with pytest.raises(RunError, match=r"^wandb_report --save: Run set not found\.$"):
        write_wandb_report([str(sweep), "--save"])


def test_without_the_package_it_says_how_to_get_it(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "wandb_workspaces.expr", None)
    with pytest.raises(ConfigError, match=r"`pip install wandb-workspaces` adds it\.$"):
        write_wandb_report([str(sweep)])
