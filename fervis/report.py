"""One answer as one self-contained page: ``report.html``, from what lies in the run folder alone."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any

from fervis.atomic import write_text

LIMITS = "fervis predicts labelled expression categories, not emotions felt."

STYLE = """
:root { color-scheme: light dark; --ink: #1b1d21; --faint: #5b616b; --line: #d9dce1; --paper: #fff; --soft: #f4f5f7 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e8eb; --faint: #a0a7b2; --line: #3a3f47; --paper: #16181c; --soft: #20242a } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 62rem; padding: 1.5rem 1rem 3rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .25rem } h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem }
p { margin: .4rem 0 } .faint, figcaption, footer { color: var(--faint); font-size: .9rem }
figure { margin: 0 0 1.6rem } img { display: block; max-width: 100%; height: auto; background: #fff; border-radius: 4px;
  border: 1px solid var(--line) } figcaption { margin-top: .4rem }
.scroll { overflow-x: auto } table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { text-align: left; padding: .3rem .9rem .3rem 0; border-bottom: 1px solid var(--line); vertical-align: top }
th { font-weight: 600 } td.n, th.n { text-align: right } td.hash { word-break: break-all }
.command { display: flex; gap: .6rem; align-items: flex-start; background: var(--soft); border: 1px solid var(--line);
  border-radius: 6px; padding: .6rem .8rem }
code, pre { font: .88rem/1.45 ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace }
.command code { flex: 1; white-space: pre-wrap; overflow-wrap: anywhere }
pre { background: var(--soft); border: 1px solid var(--line); border-radius: 6px; padding: .7rem .8rem; margin: 0;
  overflow-x: auto } summary { cursor: pointer; padding: .3rem 0 }
button { font: inherit; font-size: .85rem; padding: .1rem .7rem; color: var(--ink); background: var(--paper);
  border: 1px solid var(--line); border-radius: 5px; cursor: pointer }
.warning { border-left: 3px solid #b26a00; padding-left: .7rem }
@media print { body { max-width: none; padding: 0; font-size: 10pt } button { display: none }
  details::details-content { content-visibility: visible; display: block }
  figure, tr { break-inside: avoid } h2 { break-after: avoid } }
"""

# The button appears only where it can work: a page opened without scripts shows the bare command.
SCRIPT = """
for (const code of document.querySelectorAll(".command code")) {
  if (!navigator.clipboard) break;
  const button = document.createElement("button");
  button.textContent = "Copy";
  button.onclick = async () => { await navigator.clipboard.writeText(code.textContent); button.textContent = "Copied" };
  code.after(button);
}
"""


def write_report(folder: Path) -> Path:
    """Build ``report.html`` of a run folder from its ``summary.json``, ``manifest.json``, ``config.yaml`` and figures.

    The page needs nothing beside itself: pictures are inside it, nothing is loaded. Keys that are missing from the
    files are left out of the page.

    Returns:
        The path of the page.
    """
    summary, manifest = _read(folder / "summary.json"), _read(folder / "manifest.json")
    config = folder / "config.yaml"
    title = str(summary.get("title") or folder.resolve().name)
    numbers = ((name, _shown(value)) for name, value in summary.get("numbers", {}).items())
    sections = [
        ("Figures", "".join(_figure(folder, figure) for figure in summary.get("figures", []))),
        ("Answers", _answers(summary.get("entries", []))),
        ("Numbers", _table(numbers, numeric=True)),
        ("Ask it again", _command(manifest.get("command", ""))),
        ("Settings", _details("config.yaml", config.read_text(encoding="utf-8") if config.exists() else "")),
        ("Seconds", _table(((stage, _shown(value)) for stage, value in _seconds(manifest)), numeric=True)),
        ("Versions", _table(manifest.get("versions", {}).items())),
        ("Hashes", _table(manifest.get("hashes", {}).items(), css="hash")),
        ("Inputs", _details("files read", json.dumps(manifest["inputs"], indent=2) if manifest.get("inputs") else "")),
    ]
    facts = [("question", "question_id"), ("seed", "seed"), ("device", "device"), ("precision", "precision")]
    line = [f"{name} {manifest[key]}" for name, key in facts if key in manifest]
    line += [str(manifest["started"])] if manifest.get("started") else []
    warnings = "".join(f'<p class="warning">{escape(str(text))}</p>' for text in manifest.get("warnings", []))
    body = "".join(f"<section><h2>{name}</h2>{html}</section>\n" for name, html in sections if html)
    page = (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)} · fervis</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>{STYLE}</style>\n'
        f'</head>\n<body>\n<header><h1>{escape(title)}</h1>\n<p class="faint">{escape(" · ".join(line))}</p>\n'
        f"{warnings}</header>\n"
        f"<main>\n{body}</main>\n<footer><p>{LIMITS}</p><p>Written by fervis {escape(str(manifest.get('fervis', '')))}"
        f"</p></footer>\n<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )
    write_text(folder / "report.html", page)
    return folder / "report.html"


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _shown(value: object) -> str:
    """A number with four significant digits; anything else as it is."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value)


def _seconds(manifest: Mapping[str, Any]) -> list[tuple[str, float]]:
    stages = dict(manifest.get("seconds", {}))
    return [*stages.items(), ("in all", sum(stages.values()))] if len(stages) > 1 else list(stages.items())


def _table(rows: Iterable[tuple[str, Any]], *, numeric: bool = False, css: str = "") -> str:
    css = "n" if numeric else css
    lines = "".join(
        f'<tr><th scope="row">{escape(str(name))}</th><td class="{css}">{escape(str(value))}</td></tr>'
        for name, value in rows
    )
    return f'<div class="scroll"><table>{lines}</table></div>' if lines else ""


def _answers(entries: list[dict[str, Any]]) -> str:
    """A row an entry; a prediction says in a sign whether it is the label."""
    known = ("row", "label", "predicted", "probability", "layer", "target")
    columns = [name for name in known if any(name in entry for entry in entries)]
    kinds = {name: ' class="n"' if name in ("row", "probability") else "" for name in columns}
    head = "".join(f'<th scope="col"{kinds[name]}>{name}</th>' for name in columns)
    lines = ""
    for entry in entries:
        cells = {name: _shown(entry.get(name)) for name in columns}
        if {"label", "predicted"} <= entry.keys():
            cells["predicted"] += " ✓" if entry["label"] == entry["predicted"] else " ✗"
        lines += "<tr>" + "".join(f"<td{kinds[name]}>{escape(cell)}</td>" for name, cell in cells.items()) + "</tr>"
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>'
        if lines
        else ""
    )


def _figure(folder: Path, figure: Mapping[str, str]) -> str:
    path = folder / figure["file"]
    if not path.exists():
        return f'<p class="warning">{escape(figure["file"])} is missing from the run folder.</p>'
    data = base64.b64encode(path.read_bytes()).decode()
    caption = escape(figure.get("caption", ""))
    return (
        f'<figure><img src="data:image/png;base64,{data}" alt="{caption}" loading="lazy">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _command(command: str) -> str:
    return f'<div class="command"><code>{escape(command)}</code></div>' if command else ""


def _details(name: str, text: str) -> str:
    return f"<details><summary>{name}</summary><pre>{escape(text)}</pre></details>" if text else ""
