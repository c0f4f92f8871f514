"""The page of a run: ``report.html``, one self-contained file made from what the run folder holds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fervis.reporting.rendering import format_cell, format_time, render_page
from fervis.reporting.run_files import (
    data_uri,
    figure_path,
    finite_numbers,
    read_config,
    read_json_object,
    table_of,
    tables_of,
    texts_of,
)
from fervis.reporting.wording import describe_run, flatten_config, format_setting
from fervis.system.console import log
from fervis.system.files import write_text

_FIRST_COLUMNS = ("row", "label", "predicted", "probability", "layer", "target", "checkpoint")
_ENTRY_COLUMNS = ("row", "label", "layer", "target", "checkpoint")
_MOST_COLUMNS = 12
_SWEEP_PAGE = "../index.html"
"""The page of the sweep that a run belongs to, relative to the run's own page."""


@dataclass(frozen=True)
class EmbeddedFigure:
    """A figure of a run page.

    Attributes:
        caption: what it shows.
        source: the image as a data URI; empty where there is no image that may be shown.
        problem: why there is none, in one sentence.
    """

    caption: str = ""
    source: str = ""
    problem: str = ""


@dataclass(frozen=True)
class ResultColumn:
    """A column of the table of results."""

    name: str
    numeric: bool


@dataclass(frozen=True)
class ResultTable:
    """The entries of a run as text, one row per entry."""

    columns: Sequence[ResultColumn]
    rows: Sequence[Sequence[str]]


def write_report(folder: Path) -> Path:
    """Write ``report.html`` of a run folder from its ``summary.json``, ``manifest.json``, ``config.yaml`` and figures.

    The page needs no other file: images are inside it, nothing is loaded. Keys missing in the files are left out of the
    page; a file that is damaged is named in a warning at its top. A run of a sweep links to the sweep's page.

    Returns:
        The path of the page.
    """
    summary, summary_problem = read_json_object(folder / "summary.json")
    manifest, manifest_problem = read_json_object(folder / "manifest.json")
    config, settings, config_problem = read_config(folder)
    entries = tables_of(summary, "entries")
    problems = [problem for problem in (summary_problem, manifest_problem, config_problem) if problem]
    for problem in problems:
        log.warning("%s", problem)
    page = render_page(
        "run.html.j2",
        scripts=["copy.js", "zoom.js"],
        title=str(summary.get("title") or folder.resolve().name),
        version=str(manifest.get("fervis", "")),
        in_sweep=bool(manifest.get("sweep")) or (folder / _SWEEP_PAGE).is_file(),
        sweep_page=_SWEEP_PAGE,
        question=describe_run(flatten_config(settings), of_faces=not entries or "label" in entries[0]),
        facts=_run_facts(manifest),
        warnings=problems + texts_of(manifest, "warnings"),
        figure_sections=_figure_sections(folder, tables_of(summary, "figures")),
        results=_result_table(entries),
        sentences=_sentences(entries),
        numbers=[(name, format_cell(value)) for name, value in table_of(summary, "numbers").items()],
        command=str(manifest.get("command", "")),
        changed_settings=[(key, format_setting(value)) for key, value in table_of(manifest, "differs").items()],
        config=config,
        seconds=_stage_seconds(finite_numbers(table_of(manifest, "seconds"))),
        versions=[
            *table_of(manifest, "versions").items(),
            *((key, manifest[key]) for key in ["platform"] if key in manifest),
        ],
        hashes=list(table_of(manifest, "hashes").items()),
        inputs=json.dumps(manifest["inputs"], indent=2) if manifest.get("inputs") else "",
    )
    write_text(folder / "report.html", page)
    return folder / "report.html"


def links_to_sweep(folder: Path) -> bool:
    """Return whether the page of a run folder links to that of its sweep."""
    return f'href="{_SWEEP_PAGE}"' in (folder / "report.html").read_text(encoding="utf-8")


def _run_facts(manifest: Mapping[str, Any]) -> list[str]:
    keys = {"question": "question_id", "seed": "seed", "device": "device", "precision": "precision"}
    facts = [f"{name} {manifest[key]}" for name, key in keys.items() if key in manifest]
    return facts + ([format_time(str(manifest["started"]))] if manifest.get("started") else [])


def _stage_seconds(stages: Mapping[str, float]) -> list[tuple[str, str]]:
    total = {"in all": sum(stages.values())} if len(stages) > 1 else {}
    return [(stage, format_cell(value)) for stage, value in {**stages, **total}.items()]


def _result_table(entries: Sequence[Mapping[str, Any]]) -> ResultTable:
    """Arrange the entries' plain values; a sign marks whether a prediction is the label."""
    names = dict.fromkeys(
        name
        for entry in entries
        for name, value in entry.items()
        if not isinstance(value, dict | list) and name != "sentence"
    )
    first = [name for name in _FIRST_COLUMNS if name in names]
    columns = [
        ResultColumn(name, all(isinstance(entry.get(name), int | float | None) for entry in entries))
        for name in [*first, *(name for name in names if name not in first)][:_MOST_COLUMNS]
    ]
    return ResultTable(columns, [[_result_cell(entry, column.name) for column in columns] for entry in entries])


def _sentences(entries: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return the description of each entry's evidence, under the entry's face, layer and target."""
    return [
        (" · ".join(str(entry[name]) for name in _ENTRY_COLUMNS if name in entry), str(entry["sentence"]))
        for entry in entries
        if entry.get("sentence")
    ]


def _result_cell(entry: Mapping[str, Any], name: str) -> str:
    text = format_cell(entry.get(name))
    if name == "predicted" and {"label", "predicted"} <= entry.keys():
        return f"{text} {'✓' if entry['label'] == entry['predicted'] else '✗'}"
    return text


def _figure_sections(folder: Path, figures: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[EmbeddedFigure]]]:
    """Group the figures by the parts of a study, or all under one heading."""
    sections: dict[str, list[EmbeddedFigure]] = {}
    for figure in figures:
        sections.setdefault(str(figure.get("section", "Figures")), []).append(_embed_figure(folder, figure))
    return list(sections.items())


def _embed_figure(folder: Path, figure: Mapping[str, Any]) -> EmbeddedFigure:
    name = str(figure.get("file", ""))
    path = figure_path(folder, name)
    if path is None:
        return EmbeddedFigure(problem=f"{name} is missing from the run folder, or is no image file inside it.")
    return EmbeddedFigure(str(figure.get("caption", "")), data_uri(path.read_bytes(), path.suffix))
