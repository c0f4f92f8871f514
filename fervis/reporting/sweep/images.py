"""The figures of a sweep's page: each job's first figure made small, arranged over what was swept, two compared."""

from __future__ import annotations

import io
from collections.abc import Container, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from urllib.parse import quote

from PIL import Image

from fervis.reporting.run_files import data_uri
from fervis.reporting.sweep.jobs import Job, Sweep, axis_label

LARGE_SIDE = (480, 640)
SMALL_SIDE = (192, 128)
JPEG_QUALITY = 80


@dataclass(frozen=True)
class InlineImage:
    """An image inside the page: a data URI with width and height in pixels."""

    source: str
    width: int
    height: int


@dataclass(frozen=True)
class Thumbnail:
    """A job's first figure made small: the whole, and its top left corner."""

    whole: InlineImage
    corner: InlineImage


@dataclass(frozen=True)
class JobGrid:
    """The jobs of a sweep over two of its axes.

    Attributes:
        name: values of all other axes; empty where there is none.
        corner: names of the two axes.
        columns: values of the second axis.
        rows: value of the first axis -> one job per column, None where there is none.
    """

    name: str
    corner: str
    columns: Sequence[str]
    rows: dict[str, list[Job | None]]


@dataclass(frozen=True)
class ComparedJobs:
    """The jobs whose figures can be compared, and the names of the two that are at first."""

    jobs: Sequence[Job]
    left: str
    right: str


def make_thumbnail(figure: Path) -> Thumbnail | None:
    """Return a figure twice, both small; None where it cannot be read."""
    try:
        with Image.open(figure) as image:
            whole = Image.new("RGB", image.size, "white")
            shape = image.convert("RGBA")
            whole.paste(shape, mask=shape)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):  # what Pillow raises for damaged files
        return None
    whole_small = whole.copy()
    whole_small.thumbnail(LARGE_SIDE, Image.Resampling.LANCZOS)
    # The top left corner is legible in a table, where the whole would be the size of a stamp.
    scale = min(whole.width / SMALL_SIDE[0], whole.height / SMALL_SIDE[1])
    corner = whole.crop((0, 0, round(SMALL_SIDE[0] * scale), round(SMALL_SIDE[1] * scale)))
    return Thumbnail(_inline_jpeg(whole_small), _inline_jpeg(corner.resize(SMALL_SIDE, Image.Resampling.LANCZOS)))


def figure_link(job: Job) -> str:
    """Return the URL of a job's first figure relative to the sweep's page."""
    assert job.figure is not None
    return quote(f"{job.name}/{job.figure.parent.name}/{job.figure.name}")


def image_grids(sweep: Sweep) -> list[JobGrid]:
    """Arrange the jobs of a sweep over two or more axes: one grid for each value of the axes beyond two."""
    # The longest axis runs down the page, since a page is long and not wide; seeds repeat the other axes.
    down, across, *rest = sorted(sweep.axes, key=lambda axis: (axis == "seed", -len(sweep.axes[axis])))
    corner = f"{axis_label(down)} by {axis_label(across)}"
    grids = []
    for others in product(*(sweep.axes[axis] for axis in rest)):
        fixed = dict(zip(rest, others, strict=True))
        jobs = {
            (job.swept.get(down), job.swept.get(across)): job
            for job in sweep.jobs
            if all(job.swept.get(axis) == value for axis, value in fixed.items())
        }
        if jobs:
            name = " · ".join(f"{axis_label(axis)} {value}" for axis, value in fixed.items())
            rows = {row: [jobs.get((row, column)) for column in sweep.axes[across]] for row in sweep.axes[down]}
            grids.append(JobGrid(name, corner, sweep.axes[across], rows))
    return grids


def compared_jobs(sweep: Sweep, with_figure: Container[str]) -> ComparedJobs | None:
    """Choose two jobs to compare at first: the first, and the last that differs from it in one axis.

    Returns:
        None where fewer than two jobs have a figure.
    """
    jobs = [job for job in sweep.jobs if job.name in with_figure]
    if len(jobs) < 2:
        return None
    first = jobs[0]
    near = [job for job in jobs if sum(job.swept.get(axis) != first.swept.get(axis) for axis in sweep.axes) == 1]
    return ComparedJobs(jobs, first.name, (near or jobs)[-1].name)


def _inline_jpeg(image: Image.Image) -> InlineImage:
    data = io.BytesIO()
    image.save(data, "jpeg", quality=JPEG_QUALITY, optimize=True)
    return InlineImage(data_uri(data.getvalue(), ".jpg"), image.width, image.height)
