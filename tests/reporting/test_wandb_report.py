"""The W&B report of a sweep: built without a network, and saved to a fake server."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from support.pages import PNG

from fervis.errors import ConfigError, RunError
from fervis.reporting.wandb_report import wandb_report_command

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
        summary = {"title": layer, "entries": entries, "numbers": {"strongest_tenth": 0.5}, "figures": figures}
        (job / "summary.json").write_text(json.dumps(summary))
    (folder / "vgg8-saliency-conv9").mkdir()
    failure = {"error": "no such layer", "code": 2, "overrides": ["layer=conv9", "tracker=wandb"], "command": ""}
    (folder / "vgg8-saliency-conv9" / "failure.json").write_text(json.dumps(failure))
    return folder


def test_without_save_it_prints_what_it_would_show(
    sweep: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise AssertionError("no server may be reached")

    monkeypatch.setattr(interface, "_get_api", refuse)
    wandb_report_command([str(sweep), "--entity=lab"])
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


def fake_server(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Replace the server by one that accepts every report; return what it receives."""
    sent: list[dict[str, Any]] = []
    account = SimpleNamespace(
        default_entity="me",
        projects=lambda entity: [SimpleNamespace(name="faces")],
        settings={"base_url": "http://here"},
    )

    def execute(api: object, query: object, variables: dict[str, Any]) -> dict[str, Any]:
        if "spec" not in variables:
            return {"project": {"internalId": "inside"}}
        sent.append(variables)
        view = {
            "id": "abc",
            "displayName": variables["displayName"],
            "description": "",
            "spec": json.loads(variables["spec"]),
        }
        view |= {"project": {"name": "faces", "entityName": "me"}, "name": variables["name"]}
        return {"upsertView": {"view": view}}

    monkeypatch.setattr(interface, "_get_api", lambda: account)
    monkeypatch.setattr(interface, "get_app_url", lambda api: "http://here")
    monkeypatch.setattr(interface, "execute_graphql", execute)
    monkeypatch.setattr("wandb.Api", lambda: account)
    return sent


def test_a_saved_report_is_about_the_runs_of_the_sweep(
    sweep: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = fake_server(monkeypatch)
    wandb_report_command([str(sweep), "--save"])
    assert capsys.readouterr().out.splitlines()[-1].startswith("http://here/me/faces/reports/")
    (request,) = sent
    assert (request["entityName"], request["projectName"]) == ("me", "faces")
    grids = [block for block in json.loads(request["spec"])["blocks"] if block["type"] == "panel-grid"]
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


def test_errors_are_one_sentence(
    sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb

    with pytest.raises(ConfigError, match=r"there is no such folder\.$"):
        wandb_report_command([str(tmp_path / "nowhere")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"holds no answered job of a sweep\.$"):
        wandb_report_command([str(tmp_path / "empty")])

    def no_key() -> None:
        raise wandb.errors.UsageError("No API key configured.")

    monkeypatch.setattr("wandb.Api", no_key)
    with pytest.raises(ConfigError, match=r"^wandb-report --save: expected an API key"):
        wandb_report_command([str(sweep), "--save"])
    fake_server(monkeypatch)

    def refuse(*_: object) -> None:
        raise ValueError("Run set not found.\nMore words.")

    monkeypatch.setattr(interface, "execute_graphql", refuse)
    with pytest.raises(RunError, match=r"^wandb-report --save: Run set not found\.$"):
        wandb_report_command([str(sweep), "--save"])


def test_a_missing_package_is_named_with_its_command(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "wandb_workspaces.expr", None)
    with pytest.raises(ConfigError, match=r"`pip install wandb-workspaces` adds it\.$"):
        wandb_report_command([str(sweep)])
