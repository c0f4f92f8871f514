"""A sweep as one self-contained page: ``index.html``, from what lies in the sweep's folder alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from statistics import fmean
from typing import Any

from fervis.reporting.html import (
    COPY,
    ZOOM,
    command_box,
    format_cell,
    format_time,
    html_document,
    sections,
    two_columns,
)
from fervis.reporting.run_page import links_to_sweep, write_report
from fervis.reporting.sweep.assets import SWEEP_SCRIPT, SWEEP_STYLE
from fervis.reporting.sweep.data import COMMAND_FILE, Job, Sweep, natural_key, read_sweep, value_label
from fervis.reporting.sweep.images import Thumbnail, compare_widget, image_grid, image_link, image_tag, write_thumbnails
from fervis.reporting.sweep.line_chart import SweepSeries, axis_number, key_mark, line_chart
from fervis.reporting.sweep.trends import sweep_series
from fervis.reporting.wording import describe_run, format_setting, join_names
from fervis.system.files import write_text

MOST_SWEEP_COLUMNS = 8
MOST_CHARTS = 12
COLUMN_NAMES = (
    "explainer.name",
    "model.name",
    "dataset.name",
    "layer",
    "target",
    "checkpoint",
    "split",
    "faces",
    "seed",
)
"""The axes that the sweep in words tells of by itself."""


def write_sweep(folder: Path, command: str = "") -> Path:
    """Build ``index.html`` of a sweep's folder, and let its jobs' own pages, written before it, link to it.

    The page needs nothing beside itself but what it links to, the jobs' own pages; only what scripts enlarge or compare
    are figures from the jobs' folders, or the page's own smaller ones where those are gone.

    Args:
        folder: it holds a folder a job.
        command: what started the sweep, which is kept beside the page; where it is empty, what was kept of it.

    Returns:
        The path of the page.
    """
    sweep = read_sweep(folder, command)
    pictures = {job.name: picture for job in sweep.jobs if (picture := write_thumbnails(job))}
    failed = [job for job in sweep.jobs if job.state == "failed"]
    manifests = [job.manifest for job in sweep.jobs if job.manifest]
    told = [
        ("What failed", "".join(_failure(sweep, job) for job in failed)),
        ("Ask it again", command_box(sweep.command)),
        ("Side by side", image_grid(sweep, pictures)),
        ("Trends", _trends(sweep_series(sweep))),
        ("Every question", _jobs_table(sweep, pictures)),
        ("Two compared", compare_widget(sweep, pictures)),
        ("All numbers", _all_numbers(sweep)),
        ("Warnings", _warnings(sweep)),
        ("Settings that differ from the default", two_columns(_changed_settings(manifests), css="said")),
        ("Versions and hashes", _sweep_versions(manifests) + two_columns(_hashes(sweep), css="hash")),
    ]
    page = html_document(
        sweep_title(sweep),
        _sweep_header(sweep),
        sections(told),
        version=str(manifests[0].get("fervis", "")) if manifests else "",
        script=COPY + SWEEP_SCRIPT + ZOOM,
        style=SWEEP_STYLE,
    )
    if command:
        write_text(folder / COMMAND_FILE, f"{command}\n")
    write_text(folder / "index.html", page)
    for job in sweep.jobs:
        own = folder / job.name
        if job.state == "answered" and (own / "report.html").is_file() and not links_to_sweep(own):
            write_report(own)
    return folder / "index.html"


def sweep_title(sweep: Sweep) -> str:
    """What the sweep is about, in a line: ``saliency of vgg8 on fer2013, by layer``."""
    settings = _shared_settings(sweep)
    names = {
        kind: join_names(
            [format_setting(one) for one in found] if isinstance(found, tuple) else [format_setting(found)], most=3
        )
        for kind in ("explainer", "model", "dataset")
        if (found := settings.get(f"{kind}.name"))
    }
    over = join_names([value_label(axis) for axis in sweep.axes])
    if len(names) < 3 or settings.get("parts"):
        return f"A sweep over {over}" if over else f"The sweep {sweep.folder.resolve().name}"
    return f"{names['explainer']} of {names['model']} on {names['dataset']}" + (f", by {over}" if over else "")


def _shared_settings(sweep: Sweep) -> dict[str, Any]:
    """The settings of one job, with a tuple of all values in the place of what is swept."""
    settings = dict(next((job.settings for job in sweep.jobs if job.settings), {}))
    return settings | {axis: values for axis, values in sweep.axes.items() if axis in settings}


def _sweep_header(sweep: Sweep) -> str:
    """The sweep in words, its counts, what it took."""
    settings = _shared_settings(sweep)
    told = describe_run(settings, of_faces=all(job.of_faces for job in sweep.jobs))
    unspoken = [axis for axis in sweep.axes if not told or axis not in COLUMN_NAMES]
    told = " ".join([told, *(f"By {value_label(axis)}: {join_names(sweep.axes[axis])}." for axis in unspoken)]).strip()
    lead = f'<p class="lead">{escape(told)}</p>\n' if told else ""
    words = {"answered": "good", "failed": "bad", "unfinished": "warn"}
    counts = [
        f'<span class="{css if sweep.count(state) else "faint"}">{sweep.count(state)} {state}</span>'
        for state, css in words.items()
        if sweep.count(state) or state != "unfinished"
    ]
    total = f"{len(sweep.jobs)} question{'' if len(sweep.jobs) == 1 else 's'}"
    seconds = [job.seconds for job in sweep.jobs if job.seconds is not None]
    started = min((str(job.manifest["started"]) for job in sweep.jobs if job.manifest.get("started")), default="")
    facts = [f"{_time(sum(seconds))} in all"] if seconds else []
    facts += [f"begun {format_time(started)}"] if started else []
    facts += [sweep.folder.resolve().name]
    return (
        f'{lead}<p class="counts">{total}: {" · ".join(counts)}</p>\n<p class="faint">{escape(" · ".join(facts))}</p>\n'
    )


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"


def _failure(sweep: Sweep, job: Job) -> str:
    return (
        f'<div class="failure"><h3>{escape(sweep.named(job))}</h3><p>{escape(job.error)}</p>'
        f"{command_box(job.command)}</div>"
    )


def _trends(found: Sequence[SweepSeries]) -> str:
    """A chart for each number that varies; beyond a dozen they are folded away."""
    charts = [_chart(trend) for trend in found]
    folded = "".join(charts[MOST_CHARTS:])
    more = f'<details><summary>{len(charts) - MOST_CHARTS} more</summary><div class="charts">{folded}</div></details>'
    return f'<div class="charts">{"".join(charts[:MOST_CHARTS])}</div>{more if folded else ""}' if charts else ""


def _chart(trend: SweepSeries) -> str:
    """A chart, its name, the names of its lines."""
    names = "".join(
        f"<li>{key_mark(order)} {escape(name)}</li>" for order, name in enumerate(trend.series) if len(trend.series) > 1
    )
    means = [
        (fmean(there), place)
        for line in trend.series.values()
        for there, place in zip(line, trend.places, strict=True)
        if there
    ]
    (low, least), (high, most) = min(means), max(means)
    ends = f"{axis_number(low)} ({least}) to {axis_number(high)} ({most})" if low != high else axis_number(low)
    over = trend.over + (" (lines: means over seeds)" if trend.repeated else "")
    key = f"<ul>{names}</ul>" if names else ""
    return (
        f"<figure><figcaption><strong>{escape(trend.quantity)}</strong> over {escape(over)}<br>{escape(ends)}"
        f"</figcaption>{line_chart(trend)}{key}</figure>"
    )


def _columns(sweep: Sweep) -> list[str]:
    """The numbers in the table: those that vary first, as many as there is room for."""
    jobs = [job.own_numbers() for job in sweep.jobs if job.state == "answered"]
    names = dict.fromkeys(name for numbers in jobs for name in numbers)
    values = {name: {numbers.get(name) for numbers in jobs} for name in names}
    return sorted(names, key=lambda name: len(values[name]) < 2)[:MOST_SWEEP_COLUMNS]


def _jobs_table(sweep: Sweep, pictures: Mapping[str, Thumbnail]) -> str:
    """A row a job; scripts make the heads buttons that sort and the field above a filter."""
    numbers = _columns(sweep)
    told = any(job.state != "answered" for job in sweep.jobs)
    heads = ['<th scope="col"><span class="unseen">figure</span></th>']
    heads += [_column_heads(value_label(axis), "order") for axis in sweep.axes or ["question"]]
    heads += [_column_heads("state", "text")] if told else []
    heads += [_column_heads(name, "number", css="n") for name in numbers] + [
        _column_heads("seconds", "number", css="n")
    ]
    rows = "".join(_row(sweep, job, numbers, pictures.get(job.name), told=told) for job in sweep.jobs)
    return (
        '<p class="filter" hidden><label>Filter <input type="search" id="filter" placeholder="such as conv3"></label>'
        '<span id="found" class="faint" role="status"></span></p>'
        '<div class="scroll"><table id="jobs" aria-label="Every question">'
        f"<thead><tr>{''.join(heads)}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _column_heads(name: str, kind: str, css: str = "") -> str:
    css = f' class="{css}"' if css else ""
    return f'<th scope="col"{css} data-sort="{kind}">{_breakable(name)}</th>'


def _breakable(name: str) -> str:
    """A number's name that may be broken after its parts."""
    return escape(name).replace("/", "/<wbr>").replace("_", "_<wbr>")


def _row(sweep: Sweep, job: Job, names: Sequence[str], picture: Thumbnail | None, *, told: bool) -> str:
    shown_image = image_link(job, image_tag(picture.corner, f"Report of {sweep.named(job)}")) if picture else ""
    cells = [f'<td class="thumb">{shown_image}</td>']
    for place, axis in enumerate(sweep.axes or ["question"]):
        value = job.swept.get(axis, "" if place else job.name)
        order = sweep.axes[axis].index(value) if value in sweep.axes.get(axis, ()) else ""
        text = image_link(job, escape(value)) if place == 0 else escape(value)
        tag = 'th scope="row"' if place == 0 else "td"
        cells.append(f'<{tag} data-value="{order}">{text}</{tag[:2]}>')
    if told:
        error = f"<small>{escape(job.error)}</small>" if job.error else ""
        cells.append(f'<td data-value="{job.state}"><span class="{job.state}">{job.state}</span>{error}</td>')
    own = job.own_numbers()
    values = [own.get(name) for name in names] + [job.seconds]
    cells += [
        f'<td class="n" data-value="{"" if value is None else repr(value)}">{escape(format_cell(value))}</td>'
        for value in values
    ]
    return f'<tr class="{job.state}">{"".join(cells)}</tr>'


def _all_numbers(sweep: Sweep) -> str:
    """Every number of every job, folded away, where the table has no room for all."""
    jobs = [job for job in sweep.jobs if job.state == "answered"]
    own = [job.own_numbers() for job in jobs]
    names = dict.fromkeys(name for numbers in own for name in numbers)
    if len(names) <= MOST_SWEEP_COLUMNS:
        return ""
    head = "".join(f'<th scope="col" class="n">{escape(sweep.named(job))}</th>' for job in jobs)
    lines = "".join(
        f'<tr><th scope="row">{escape(name)}</th>'
        + "".join(f'<td class="n">{escape(format_cell(numbers.get(name)))}</td>' for numbers in own)
        + "</tr>"
        for name in sorted(names, key=natural_key)
    )
    return (
        f'<details><summary>{len(names)} numbers of each question</summary><div class="scroll"><table><thead><tr>'
        f'<th scope="col">number</th>{head}</tr></thead><tbody>{lines}</tbody></table></div></details>'
    )


def _warnings(sweep: Sweep) -> str:
    """Each warning once, with the jobs that it is of."""
    found: dict[str, list[str]] = {}
    for job in sweep.jobs:
        for warning in job.warnings:
            found.setdefault(warning, []).append(sweep.named(job))
    return "".join(
        f'<p class="warning">{escape(text)} <span class="faint">({escape(join_names(names, most=4))})</span></p>'
        for text, names in found.items()
    )


def _changed_settings(manifests: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """What the questions were told beside the default; of what is swept, every value."""
    found = _distinct_values(manifest.get("differs", {}) for manifest in manifests)
    return [(key, join_names(values, word="or")) for key, values in found.items()]


def _distinct_values(tables: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """The different values of each key over several tables, in words, in the order in which they come."""
    found: dict[str, dict[str, None]] = {}
    for table in tables:
        for key, value in table.items():
            found.setdefault(key, {})[format_setting(value)] = None
    return {key: list(values) for key, values in found.items()}


def _hashes(sweep: Sweep) -> list[tuple[str, str]]:
    """What the answers were computed from: one hash where all agree, else how many there are."""
    found = _distinct_values(job.manifest.get("hashes", {}) for job in sweep.jobs)
    return [
        (name, values[0] if len(values) == 1 else f"{len(values)} different ones, each on its question's page")
        for name, values in found.items()
        if name != "config"
    ]


def _sweep_versions(manifests: Sequence[Mapping[str, Any]]) -> str:
    """What the answers were computed with; where they differ in a version, all of it."""
    found = _distinct_values(manifest.get("versions", {}) for manifest in manifests)
    line = " · ".join(f"{name} {' or '.join(versions)}" for name, versions in found.items())
    return f'<p class="faint">{escape(line)}</p>' if line else ""
