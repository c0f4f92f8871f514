"""One answer as one self-contained page: ``report.html``, from what lies in the run folder alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

import yaml

from fervis.reporting.html import (
    COPY,
    ZOOM,
    command_box,
    data_uri,
    details_html,
    format_cell,
    format_time,
    html_document,
    sections,
    two_columns,
    two_columns_html,
)
from fervis.reporting.wording import describe_run, flatten_config, format_setting
from fervis.system.files import write_text

TABLE_COLUMNS = ("row", "label", "predicted", "probability", "layer", "target", "checkpoint")
MOST_TABLE_COLUMNS = 12
SWEEP_MARK = "../index.html"
"""The page of the sweep that a run belongs to, as the run's page finds it."""


def write_report(folder: Path) -> Path:
    """Build ``report.html`` of a run folder from its ``summary.json``, ``manifest.json``, ``config.yaml`` and figures.

    The page needs nothing beside itself: pictures are inside it, nothing is loaded. Keys that are missing from the
    files are left out of the page. Where the run is one of a sweep whose page is there, it is linked.

    Returns:
        The path of the page.
    """
    summary, manifest = _read_run(folder / "summary.json"), _read_run(folder / "manifest.json")
    path = folder / "config.yaml"
    config = path.read_text(encoding="utf-8") if path.exists() else ""
    differs = ((key, format_setting(value)) for key, value in manifest.get("differs", {}).items())
    told = [
        *_figures(folder, summary.get("figures", [])),
        ("Answers", _results_html(summary.get("entries", []))),
        (
            "Numbers",
            two_columns(
                ((name, format_cell(value)) for name, value in summary.get("numbers", {}).items()), numeric=True
            ),
        ),
        ("Ask it again", command_box(manifest.get("command", ""))),
        ("Settings that differ from the default", two_columns(differs, css="said")),
        ("Settings", details_html("config.yaml", config)),
        (
            "How it was computed",
            two_columns_html([("Seconds", _seconds(manifest)), ("Versions", _run_versions(manifest))]),
        ),
        ("What it was computed from", _sources(manifest)),
    ]
    page = html_document(
        str(summary.get("title") or folder.resolve().name),
        _sweep_link(folder) + _run_header(config, summary, manifest),
        sections(told),
        version=str(manifest.get("fervis", "")),
        script=COPY + ZOOM,
    )
    write_text(folder / "report.html", page)
    return folder / "report.html"


def links_to_sweep(folder: Path) -> bool:
    """Whether the page of a run folder links to that of its sweep."""
    return f'href="{SWEEP_MARK}"' in (folder / "report.html").read_text(encoding="utf-8")


def _sweep_link(folder: Path) -> str:
    there = (folder / SWEEP_MARK).is_file()
    return f'<p class="back"><a href="{SWEEP_MARK}">\N{LEFTWARDS ARROW} The whole sweep</a></p>\n' if there else ""


def _run_header(config: str, summary: Mapping[str, Any], manifest: Mapping[str, Any]) -> str:
    """The question in words, what is known of the run, and what to know before believing it."""
    told = yaml.safe_load(config)
    entries = summary.get("entries", [])
    of_faces = not entries or "label" in entries[0]
    question = describe_run(flatten_config(told), of_faces=of_faces) if isinstance(told, dict) else ""
    facts = [("question", "question_id"), ("seed", "seed"), ("device", "device"), ("precision", "precision")]
    line = [f"{name} {manifest[key]}" for name, key in facts if key in manifest]
    line += [format_time(str(manifest["started"]))] if manifest.get("started") else []
    warnings = "".join(f'<p class="warning">{escape(str(text))}</p>' for text in manifest.get("warnings", []))
    lead = f'<p class="lead">{escape(question)}</p>\n' if question else ""
    return f'{lead}<p class="faint">{escape(" · ".join(line))}</p>\n{warnings}'


def _read_run(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _seconds(manifest: Mapping[str, Any]) -> str:
    stages = dict(manifest.get("seconds", {}))
    total = {"in all": sum(stages.values())} if len(stages) > 1 else {}
    return two_columns(((stage, format_cell(value)) for stage, value in (stages | total).items()), numeric=True)


def _run_versions(manifest: Mapping[str, Any]) -> str:
    return two_columns([*manifest.get("versions", {}).items(), *_settings_html(manifest, ["platform"])])


def _sources(manifest: Mapping[str, Any]) -> str:
    """Hashes of what was read, and which files that was."""
    inputs = details_html("Files read", json.dumps(manifest["inputs"], indent=2)) if manifest.get("inputs") else ""
    return two_columns(manifest.get("hashes", {}).items(), css="hash") + inputs


def _settings_html(manifest: Mapping[str, Any], names: list[str]) -> list[tuple[str, Any]]:
    return [(name, manifest[name]) for name in names if name in manifest]


def _results_html(entries: list[dict[str, Any]]) -> str:
    """A row an entry; a prediction says in a sign whether it is the label."""
    found = dict.fromkeys(
        name for entry in entries for name, value in entry.items() if not isinstance(value, dict | list)
    )
    columns = [
        *(name for name in TABLE_COLUMNS if name in found),
        *(name for name in found if name not in TABLE_COLUMNS),
    ]
    columns = columns[:MOST_TABLE_COLUMNS]
    numeric = {name: all(isinstance(entry.get(name), int | float | None) for entry in entries) for name in columns}
    kinds = {name: ' class="n"' if numeric[name] else "" for name in columns}
    head = "".join(f'<th scope="col"{kinds[name]}>{escape(name)}</th>' for name in columns)
    lines = ""
    for entry in entries:
        cells = {name: format_cell(entry.get(name)) for name in columns}
        if {"label", "predicted"} <= entry.keys():
            cells["predicted"] += " ✓" if entry["label"] == entry["predicted"] else " ✗"
        lines += "<tr>" + "".join(f"<td{kinds[name]}>{escape(cell)}</td>" for name, cell in cells.items()) + "</tr>"
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>"
    return f'<div class="scroll">{table}</div>' if columns else ""


def _figures(folder: Path, figures: list[dict[str, str]]) -> list[tuple[str, str]]:
    """The figures under their headings: those of the parts of a study, or one for all."""
    headings = dict.fromkeys(figure.get("section", "Figures") for figure in figures)
    return [
        (
            heading,
            "".join(_figure(folder, figure) for figure in figures if figure.get("section", "Figures") == heading),
        )
        for heading in headings
    ]


def _figure(folder: Path, figure: Mapping[str, str]) -> str:
    path = folder / figure["file"]
    if not path.exists():
        return f'<p class="warning">{escape(figure["file"])} is missing from the run folder.</p>'
    kind = "jpeg" if path.suffix == ".jpg" else path.suffix.lstrip(".")
    caption = escape(figure.get("caption", ""))
    return (
        f'<figure><img src="{data_uri(path.read_bytes(), kind)}" alt="{caption}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )
