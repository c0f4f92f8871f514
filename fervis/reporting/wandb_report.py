"""Lay out a W&B report of a sweep.

The report is about the runs that ``tracker=wandb`` recorded in the sweep's group: the command, a bar plot of every
number by what is swept, all of them as parallel coordinates, learning curves where networks were trained, the figures
side by side, the faces, and the confusion matrices.
"""

from __future__ import annotations

import warnings
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from fervis.errors import ConfigError, RunError
from fervis.reporting.sweep.jobs import Job, Sweep, axis_label
from fervis.reporting.sweep.read import read_sweep

_MOST_BARS = 12  # numbers with a plot of their own; the parallel coordinates and the table of runs show all
_CURVES = ("train/loss", "val/loss", "train/accuracy", "val/accuracy")


def wandb_report_command(arguments: list[str]) -> None:
    """Lay out a W&B report of a sweep, and save it with ``--save``.

    ``python -m fervis wandb-report <sweep folder> [--save] [--entity=..] [--project=..]``. Without ``--save`` it prints
    what the report would show, and reaches no network; with it, the last line is the report's address.

    Raises:
        ConfigError: there is no such sweep, or no W&B account to save the report to.
        RunError: the server refused the report.
    """
    parser = ArgumentParser("python -m fervis wandb-report", description=__doc__, allow_abbrev=False)
    parser.add_argument("folder", type=Path, help="folder of a sweep, such as outputs/sweeps/<name>")
    parser.add_argument("--save", action="store_true", help="save the report on the W&B server; without, print it")
    parser.add_argument("--entity", help="user or team; by default that of the runs, else the account's own")
    parser.add_argument("--project", help="project; by default that of the runs, else fervis")
    options = parser.parse_args(arguments)
    if not options.folder.is_dir():
        raise ConfigError(f"wandb-report {options.folder}: there is no such folder.")
    sweep = read_sweep(options.folder)
    settings = next((job.settings for job in sweep.jobs if job.settings.get("tracker.name") == "wandb"), {})
    entity = options.entity or settings.get("tracker.entity") or ""
    report = wandb_report(sweep, options.project or settings.get("tracker.project") or "fervis", entity)
    print(report_outline(report))
    if options.save:
        print(save_report(report))


def wandb_report(sweep: Sweep, project: str, entity: str) -> Any:
    """Build the report as an object of wandb-workspaces, without saving it.

    Args:
        sweep: with at least one answered job.
        project: of the runs.
        entity: user or team.

    Raises:
        ConfigError: the package is not installed, or the sweep has no result.
    """
    expressions, reports = _import_workspaces()
    answered = [job for job in sweep.jobs if job.state == "answered"]
    if not answered:
        raise ConfigError(f"wandb-report {sweep.folder}: it holds no answered job of a sweep.")
    axes = ", ".join(axis_label(axis) for axis in sweep.axes)
    others = len(sweep.jobs) - len(answered)
    counts = f"{len(answered)} of {len(sweep.jobs)} questions answered" + (f", {others} not" if others else "")
    blocks: list[Any] = [
        reports.P(f"{counts}. Swept: {axes or 'nothing'}. Command:"),
        reports.CodeBlock(code=sweep.command, language="markdown"),
    ]
    for title, panels in _report_panels(reports, sweep, answered).items():
        group = expressions.Metric("Group") == sweep.folder.name
        runs = reports.Runset(entity=entity, project=project, name=sweep.folder.name, filters=[group])
        blocks += [reports.H2(title), reports.PanelGrid(runsets=[runs], panels=panels)]
    return reports.Report(
        project=project,
        entity=entity,
        title=f"fervis: {axes or sweep.folder.name}"[:128],
        description=counts,
        blocks=blocks,
        width="fluid",
    )


def report_outline(report: Any) -> str:
    """Return what a report shows, one line per panel."""
    lines = [f"{report.title} ({report.entity or 'your own entity'}/{report.project}): {report.description}"]
    for block in report.blocks:
        kind = type(block).__name__
        if kind == "H2":
            lines.append(f"{block.text}:")
        elif kind == "PanelGrid":
            lines += [f"  {type(panel).__name__} {_panel_subject(panel)}".rstrip() for panel in block.panels]
    return "\n".join(lines)


def save_report(report: Any) -> str:
    """Save a report on the server and return its address.

    Raises:
        ConfigError: there is no API key.
        RunError: the server refused the report, with its reason.
    """
    import wandb

    try:
        account = wandb.Api()
    except wandb.Error as error:
        raise ConfigError("wandb-report --save: expected an API key; `wandb login` asks for one.") from error
    try:
        if not report.entity:
            report.entity = account.default_entity
            for block in report.blocks:
                for runs in getattr(block, "runsets", []):
                    runs.entity = report.entity
        return report.save().url
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise RunError(f"wandb-report --save: {reason}") from error


def _import_workspaces() -> tuple[Any, Any]:
    """Import the expressions and the reports of wandb-workspaces, whose own import warns of deprecations."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            return import_module("wandb_workspaces.expr"), import_module("wandb_workspaces.reports.v2")
    except ImportError as error:
        raise ConfigError(
            "wandb-report: the package wandb-workspaces is not installed; `pip install wandb-workspaces` adds it."
        ) from error


def _report_panels(reports: Any, sweep: Sweep, answered: Sequence[Job]) -> dict[str, list[Any]]:
    """Return the panels of each section; sections without a subject are left out."""
    figures = list(dict.fromkeys(job.figure.stem for job in answered if job.figure))
    sections = {"Numbers": _number_panels(reports, sweep, answered)}
    if any(job.settings.get("model.weights") is None for job in answered):
        curves = [reports.LinePlot(title=name, x="epoch", y=[name], title_x="epoch") for name in _CURVES]
        sections["Curves of the trainings"] = curves
    if figures:
        sections["Figures"] = [reports.MediaBrowser(media_keys=figures, layout=reports.Layout(w=24, h=16))]
    if any(job.of_faces for job in answered):
        sections["Faces"] = [_table_panel(reports, "table_of_faces")]
    if any(job.settings.get("explainer.name") == "confusion" for job in answered):
        sections["Confusion"] = [_table_panel(reports, "confusion_matrix_table")]
    return sections


def _number_panels(reports: Any, sweep: Sweep, answered: Sequence[Job]) -> list[Any]:
    """Return all numbers as parallel coordinates, and the most frequent ones as bars."""
    swept = [reports.Config(axis) for axis in sweep.axes]
    numbers = [name for name, _ in Counter(name for job in answered for name in job.numbers).most_common()]
    columns = [*swept, *map(reports.SummaryMetric, numbers)]
    bars = [
        reports.BarPlot(title=name, metrics=[reports.SummaryMetric(name)], groupby=swept[0] if swept else None)
        for name in numbers[:_MOST_BARS]
    ]
    coordinates = reports.ParallelCoordinatesPlot(
        columns=[reports.ParallelCoordinatesPlotColumn(metric=column) for column in columns],
        layout=reports.Layout(w=24, h=8),
    )
    return [coordinates, *bars]


def _table_panel(reports: Any, name: str) -> Any:
    return reports.WeavePanelSummaryTable(table_name=name, layout=reports.Layout(w=24, h=16))


def _panel_subject(panel: Any) -> str:
    name = getattr(panel, "title", None) or getattr(panel, "table_name", None)
    columns = getattr(panel, "media_keys", None) or [column.metric.name for column in getattr(panel, "columns", [])]
    return name or ", ".join(columns)
