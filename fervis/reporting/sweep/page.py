"""The page of a sweep: ``index.html``, one self-contained file made from what the sweep's folder holds."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from fervis.reporting.rendering import render_page
from fervis.reporting.run_page import links_to_sweep, write_report
from fervis.reporting.sweep.images import compared_jobs, figure_link, image_grids, make_thumbnail
from fervis.reporting.sweep.jobs import Job
from fervis.reporting.sweep.line_chart import chart_view
from fervis.reporting.sweep.read import COMMAND_FILE, read_sweep
from fervis.reporting.sweep.summary import (
    changed_settings,
    describe_sweep,
    shared_hashes,
    shared_versions,
    shared_warnings,
    sweep_facts,
    sweep_title,
)
from fervis.reporting.sweep.table import job_table, number_table
from fervis.reporting.sweep.trends import sweep_series
from fervis.system.files import write_text

_MOST_CHARTS = 12


def write_sweep(folder: Path, command: str = "") -> Path:
    """Write ``index.html`` of a sweep's folder.

    The page needs no other file but the jobs' own pages, to which it links; figures that scripts enlarge or compare are
    read from the jobs' folders, or are the page's own smaller ones where those are missing.

    Args:
        folder: it holds one folder per job.
        command: the command that started the sweep, which is saved next to the page; where it is empty, the one saved
            before.

    Returns:
        The path of the page.
    """
    sweep = read_sweep(folder, command)
    thumbnails = {job.name: thumbnail for job in sweep.jobs if job.figure and (thumbnail := make_thumbnail(job.figure))}
    manifests = [job.manifest for job in sweep.jobs if job.manifest]
    charts = [chart_view(series) for series in sweep_series(sweep)]
    page = render_page(
        "sweep.html.j2",
        scripts=["copy.js", "sweep.js", "zoom.js"],
        styles=["sweep.css"],
        title=sweep_title(sweep),
        version=str(manifests[0].get("fervis", "")) if manifests else "",
        description=describe_sweep(sweep),
        facts=sweep_facts(sweep),
        sweep=sweep,
        thumbnails=thumbnails,
        image_ids={job.name: f"p{index}" for index, job in enumerate(sweep.jobs)},
        figure_links={job.name: figure_link(job) for job in sweep.jobs if job.figure},
        page_links={job.name: f"{quote(job.name)}/report.html" for job in sweep.jobs},
        grids=image_grids(sweep) if len(sweep.axes) > 1 else [],
        charts=charts[:_MOST_CHARTS],
        more_charts=charts[_MOST_CHARTS:],
        table=job_table(sweep),
        compared=compared_jobs(sweep, thumbnails),
        all_numbers=number_table(sweep),
        warnings=shared_warnings(sweep),
        changed_settings=changed_settings(manifests),
        versions=shared_versions(manifests),
        hashes=shared_hashes(manifests),
    )
    if command:
        write_text(folder / COMMAND_FILE, f"{command}\n")
    write_text(folder / "index.html", page)
    for job in sweep.jobs:
        _link_to_sweep(folder / job.name, job)
    return folder / "index.html"


def _link_to_sweep(folder: Path, job: Job) -> None:
    """Rewrite the page of a job that does not link to its sweep: one of fervis 0.1, whose manifest names no sweep."""
    if job.state == "answered" and (folder / "report.html").is_file() and not links_to_sweep(folder):
        write_report(folder)
