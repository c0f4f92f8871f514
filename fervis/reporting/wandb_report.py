"""Lay out a W&B report of a sweep.

Usage: ``python -m fervis.reporting.wandb_report <sweep folder> [--save] [--entity=..] [--project=..]``.

It is about the runs that ``tracker=wandb`` recorded in the sweep's group: the command, every number as bars by what is
swept, all of them as parallel coordinates, curves where networks were trained, the figures side by side, the faces, and
the confusion. Without ``--save`` it says what the report would show, and reaches no network.
"""

from __future__ import annotations

import sys
import warnings
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from fervis.errors import ConfigError, RunError
from fervis.reporting.sweep.jobs import Sweep, axis_label
from fervis.reporting.sweep.read import read_sweep

BARS = 12  # numbers that get a plot of their own; the parallel coordinates and the runs' table have all
CURVES = ("train/loss", "val/loss", "train/accuracy", "val/accuracy")


def sweep_report(sweep: Sweep, project: str, entity: str) -> Any:
    """The report as an object of wandb-workspaces, not saved.

    Args:
        sweep: with at least one answered job.
        project: of the runs.
        entity: user or team.

    Raises:
        ConfigError: the package is not installed, or the sweep has no answer.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of the package's own making
            where: Any = import_module("wandb_workspaces.expr")
            reports: Any = import_module("wandb_workspaces.reports.v2")
    except ImportError as error:
        raise ConfigError(
            "wandb_report: the package wandb-workspaces is not installed; `pip install wandb-workspaces` adds it."
        ) from error
    answered = [job for job in sweep.jobs if job.state == "answered"]
    if not answered:
        raise ConfigError(f"wandb_report {sweep.folder}: it holds no answered job of a sweep.")
    swept = [reports.Config(axis) for axis in sweep.axes]
    numbers = [name for name, _ in Counter(name for job in answered for name in job.numbers).most_common()]
    columns = [*swept, *map(reports.SummaryMetric, numbers)]
    bars = [
        reports.BarPlot(title=name, metrics=[reports.SummaryMetric(name)], groupby=swept[0] if swept else None)
        for name in numbers[:BARS]
    ]
    together = reports.ParallelCoordinatesPlot(
        columns=[reports.ParallelCoordinatesPlotColumn(metric=column) for column in columns],
        layout=reports.Layout(w=24, h=8),
    )
    pictures = list(dict.fromkeys(job.figure.stem for job in answered if job.figure))
    sections: dict[str, list[Any]] = {"Numbers": [together, *bars]}
    if any(job.settings.get("model.weights") is None for job in answered):
        lines = [reports.LinePlot(title=name, x="epoch", y=[name], title_x="epoch") for name in CURVES]
        sections["Curves of the trainings"] = lines
    if pictures:
        sections["Figures"] = [reports.MediaBrowser(media_keys=pictures, layout=reports.Layout(w=24, h=16))]
    if any(job.of_faces for job in answered):
        sections["Faces"] = [
            reports.WeavePanelSummaryTable(table_name="table_of_faces", layout=reports.Layout(w=24, h=16))
        ]
    if any(job.settings.get("explainer.name") == "confusion" for job in answered):
        sections["Confusion"] = [
            reports.WeavePanelSummaryTable(table_name="confusion_matrix_table", layout=reports.Layout(w=24, h=16))
        ]
    failed = len(sweep.jobs) - len(answered)
    told = f"{len(answered)} of {len(sweep.jobs)} questions answered" + (f", {failed} not" if failed else "")
    blocks: list[Any] = [
        reports.P(f"{told}. Swept: {', '.join(axis_label(axis) for axis in sweep.axes) or 'nothing'}. Asked with:"),
        reports.CodeBlock(code=sweep.command, language="markdown"),
    ]
    for title, panels in sections.items():
        runs = reports.Runset(
            entity=entity, project=project, name=sweep.folder.name, filters=[where.Metric("Group") == sweep.folder.name]
        )
        blocks += [reports.H2(title), reports.PanelGrid(runsets=[runs], panels=panels)]
    return reports.Report(
        project=project,
        entity=entity,
        title=f"fervis: {', '.join(axis_label(axis) for axis in sweep.axes) or sweep.folder.name}"[:128],
        description=told,
        blocks=blocks,
        width="fluid",
    )


def report_outline(report: Any) -> str:
    """What a report shows, a line a panel."""
    lines = [f"{report.title} ({report.entity or 'your own entity'}/{report.project}): {report.description}"]
    for block in report.blocks:
        kind = type(block).__name__
        if kind == "H2":
            lines.append(f"{block.text}:")
        elif kind == "PanelGrid":
            lines += [f"  {type(panel).__name__} {_subject(panel)}".rstrip() for panel in block.panels]
    return "\n".join(lines)


def _subject(panel: Any) -> str:
    named = getattr(panel, "title", None) or getattr(panel, "table_name", None)
    several = getattr(panel, "media_keys", None) or [one.metric.name for one in getattr(panel, "columns", [])]
    return named or ", ".join(several)


def write_wandb_report(arguments: Sequence[str]) -> None:
    """Build the report of a sweep's folder, and save it where that is asked for.

    Raises:
        ConfigError: there is no such sweep, or no W&B account to save it to.
        RunError: the server refused the report.
    """
    parser = ArgumentParser("python -m fervis.reporting.wandb_report", description=__doc__, allow_abbrev=False)
    parser.add_argument("folder", type=Path, help="of a sweep, such as outputs/sweeps/<name>")
    parser.add_argument("--save", action="store_true", help="save it on the W&B server; without, say what it shows")
    parser.add_argument("--entity", help="user or team; else what tracker.entity was, else the account's own")
    parser.add_argument("--project", help="else what tracker.project was, else fervis")
    told = parser.parse_args(arguments)
    if not told.folder.is_dir():
        raise ConfigError(f"wandb_report {told.folder}: there is no such folder.")
    sweep = read_sweep(told.folder)
    settings = next((job.settings for job in sweep.jobs if job.settings.get("tracker.name") == "wandb"), {})
    entity = told.entity or settings.get("tracker.entity") or ""
    report = sweep_report(sweep, told.project or settings.get("tracker.project") or "fervis", entity)
    print(report_outline(report))
    if told.save:
        print(save_report(report))


def save_report(report: Any) -> str:
    """Save a report on the server; its address.

    Raises:
        ConfigError: there is no API key.
        RunError: the server refused the report, with its reason.
    """
    import wandb

    try:
        account = wandb.Api()
    except wandb.Error as error:
        raise ConfigError("wandb_report --save: no API key was found; `wandb login` asks for one.") from error
    try:
        if not report.entity:
            report.entity = account.default_entity
            for block in report.blocks:
                for runs in getattr(block, "runsets", []):
                    runs.entity = report.entity
        return report.save().url
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise RunError(f"wandb_report --save: {reason}") from error


if __name__ == "__main__":
    from fervis.cli.main import print_error

    try:
        write_wandb_report(sys.argv[1:])
    except (ConfigError, RunError) as error:
        sys.exit(print_error(str(error), 2 if isinstance(error, ConfigError) else 1))
