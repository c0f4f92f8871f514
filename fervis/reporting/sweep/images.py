"""The pictures of a sweep's page: each job's first figure made small, laid out over what was swept, two compared."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import product
from urllib.parse import quote

from PIL import Image

from fervis.reporting.html import data_uri
from fervis.reporting.sweep.data import Job, Sweep, value_label

LARGE_SIDE = (480, 640)
SMALL_SIDE = (192, 128)
JPEG_QUALITY = 80


@dataclass(frozen=True)
class Thumbnail:
    """A job's first figure made small, each as JPEG bytes with width and height: the whole, and its top left corner."""

    whole: tuple[bytes, int, int]
    corner: tuple[bytes, int, int]


def write_thumbnails(job: Job) -> Thumbnail | None:
    """A job's first figure twice, both small; None where there is none that can be read."""
    if job.figure is None:
        return None
    try:
        with Image.open(job.figure) as figure:
            whole = Image.new("RGB", figure.size, "white")
            shape = figure.convert("RGBA")
            whole.paste(shape, mask=shape)
    except OSError:
        return None
    whole_small = whole.copy()
    whole_small.thumbnail(LARGE_SIDE, Image.Resampling.LANCZOS)
    # What is at the top left can still be read in a table, where the whole would be a stamp.
    scale = min(whole.width / SMALL_SIDE[0], whole.height / SMALL_SIDE[1])
    corner = whole.crop((0, 0, round(SMALL_SIDE[0] * scale), round(SMALL_SIDE[1] * scale)))
    return Thumbnail(_jpeg(whole_small), _jpeg(corner.resize(SMALL_SIDE, Image.Resampling.LANCZOS)))


def _jpeg(picture: Image.Image) -> tuple[bytes, int, int]:
    data = io.BytesIO()
    picture.save(data, "jpeg", quality=JPEG_QUALITY, optimize=True)
    return data.getvalue(), picture.width, picture.height


def image_link(job: Job, html: str) -> str:
    """A link to a job's own page, where there is one."""
    return f'<a href="{quote(job.name)}/report.html">{html}</a>' if job.state == "answered" else html


def _enlarged(job: Job, html: str) -> str:
    """A link to a job's own page, which scripts turn into a button that enlarges its figure."""
    return f'<a class="enlarge" href="{quote(job.name)}/report.html" data-figure="{escape(_path(job))}">{html}</a>'


def image_tag(picture: tuple[bytes, int, int], alt: str, name: str = "") -> str:
    """A picture inside the page, by a name where the page's script asks for it."""
    data, width, height = picture
    name = f' id="{escape(name)}"' if name else ""
    return (
        f'<img{name} src="{data_uri(data, "jpeg")}" width="{width}" height="{height}" alt="{escape(alt)}" '
        'decoding="async">'
    )


def image_grid(sweep: Sweep, pictures: Mapping[str, Thumbnail]) -> str:
    """The pictures over what is swept: a strip for one axis, a grid for two, a grid for each value of any further."""
    if not pictures:
        return ""
    cells = {
        job.name: _enlarged(job, image_tag(pictures[job.name].whole, f"{sweep.named(job)}. {job.caption}", f"p{place}"))
        if job.name in pictures
        else f'<p class="none {job.state}">{_empty_cell(job)}</p>'
        for place, job in enumerate(sweep.jobs)
    }
    if len(sweep.axes) < 2:
        cards = "".join(
            f"<figure>{cells[job.name]}<figcaption>{image_link(job, escape(sweep.named(job)))}</figcaption></figure>"
            for job in sweep.jobs
        )
        return f'<div class="strip">{cards}</div>'
    # The longest axis runs down the page, since a page is long and not wide; seeds repeat what the others ask.
    down, across, *rest = sorted(sweep.axes, key=lambda axis: (axis == "seed", -len(sweep.axes[axis])))
    corner = f"{value_label(down)} by {value_label(across)}"
    grids = ""
    for others in product(*(sweep.axes[axis] for axis in rest)):
        there = {
            (job.swept.get(down), job.swept.get(across)): job
            for job in sweep.jobs
            if all(job.swept.get(axis) == value for axis, value in zip(rest, others, strict=True))
        }
        name = " · ".join(f"{value_label(axis)} {value}" for axis, value in zip(rest, others, strict=True))
        if there:
            grids += f"<h3>{escape(name)}</h3>" if name else ""
            grids += _image_table(sweep.axes[down], sweep.axes[across], there, cells, corner)
    return grids


def _image_table(
    down: Sequence[str],
    across: Sequence[str],
    there: Mapping[tuple[str | None, str | None], Job],
    cells: Mapping[str, str],
    corner: str,
) -> str:
    head = "".join(f'<th scope="col">{escape(value)}</th>' for value in across)
    lines = ""
    for row in down:
        found = (there.get((row, column)) for column in across)
        inner = "".join(f"<td>{cells[job.name] if job else ''}</td>" for job in found)
        lines += f'<tr><th scope="row">{escape(row)}</th>{inner}</tr>'
    return (
        f'<div class="scroll"><table class="grid"><thead><tr><th scope="col" class="faint">{escape(corner)}</th>{head}'
        f"</tr></thead><tbody>{lines}</tbody></table></div>"
    )


def _empty_cell(job: Job) -> str:
    """What stands in the place of a picture."""
    if job.state == "failed":
        return "failed"
    return "answered, without a picture" if job.state == "answered" else "not answered yet"


def compare_widget(sweep: Sweep, pictures: Mapping[str, Thumbnail]) -> str:
    """Two jobs' figures one over the other, parted by a slider; without scripts a word that this takes some.

    It begins with the first job and the last that differs from it in one axis.
    """
    there = [(place, job) for place, job in enumerate(sweep.jobs) if job.name in pictures]
    if len(there) < 2:
        return ""
    first = there[0]
    alike = [
        one for one in there if sum(one[1].swept.get(axis) != first[1].swept.get(axis) for axis in sweep.axes) == 1
    ]

    def options(chosen: int) -> str:
        return "".join(
            f'<option value="p{place}" data-figure="{escape(_path(job))}"{" selected" if place == chosen else ""}>'
            f"{escape(sweep.named(job))}</option>"
            for place, job in there
        )

    return (
        '<noscript><p class="faint">Laying two figures over each other takes scripts; every figure is above and on its '
        'question\'s own page.</p></noscript><div id="compare" hidden><p class="pair">'
        f'<label>Left <select id="left">{options(first[0])}</select></label>'
        f'<label>Right <select id="right">{options((alike or there)[-1][0])}</select></label></p>'
        '<div class="overlaid"><img id="under" alt=""><img id="over" alt=""></div>'
        '<input type="range" id="cut" min="0" max="100" value="50" '
        'aria-label="Where left ends and right begins, in per cent"></div>'
    )


def _path(job: Job) -> str:
    """A job's first figure, as the page finds it."""
    assert job.figure is not None
    return quote(f"{job.name}/{job.figure.parent.name}/{job.figure.name}")
