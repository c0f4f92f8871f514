"""A sweep's page: from folders built by hand, read as HTML and, where there is one, in a browser."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image
from support.browser import needs_browser, run_in_page
from support.pages import EVIL, FLAWS, LIMITS_TEXT, LOOKS, NO_FLAWS, Page
from support.sweeps import answered, failed

from fervis.reporting.run_page import links_to_sweep, write_report
from fervis.reporting.sweep.page import write_sweep

COMMAND = "python -m fervis -m layer=conv2,conv10 explainer=saliency,lime"
ERROR = "layer=conv10: there is no such layer. Did you mean conv1?"


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Two layers by two explainers, one of which failed."""
    folder = tmp_path / "layer-explainer-1a2b3c4d"
    for layer, explainer, sharpness in (
        ("conv10", "saliency", 0.25),
        ("conv2", "lime", 0.123456),
        ("conv2", "saliency", 12.0),
    ):
        numbers = {f"{layer}/sharpness": sharpness, "explained": 7}
        answered(folder, [f"layer={layer}", f"explainer={explainer}"], numbers, warnings=(f"careful {EVIL}",))
    failed(folder, ["layer=conv10", "explainer=lime"], ERROR + EVIL)
    return folder


def read(folder: Path, command: str = COMMAND) -> tuple[str, Page]:
    text = write_sweep(folder, command).read_text(encoding="utf-8")
    return text, Page(text)


def test_page_describes_the_sweep(sweep: Path) -> None:
    text, page = read(sweep)
    assert page.text["h1"] == ["saliency and lime of vgg8 on faces, by layer and explainer"]
    assert page.text["h2"] == [
        *("Failures", "Ask again", "Side by side", "Trends", "All questions", "Compare two"),
        *("Warnings", "Versions and hashes"),
    ]
    lead = (
        "What saliency or lime at conv2 or conv10 says about vgg8 trained for 8 epochs, for the label of each face, "
        "on one face of each class of the test split of faces; seed 0."
    )
    assert lead in page.text["p"]
    assert re.findall(r">(\d+ \w+)</span>", text) == ["3 answered", "1 failed"]
    assert "4 questions: " in page.text["p"]
    assert "7.5 s in all · started 2026-11-23 20:00 UTC · layer-explainer-1a2b3c4d" in page.text["p"]
    assert page.text["code"] == ["python -m fervis layer=conv10 explainer=lime", COMMAND]
    assert f"careful {EVIL} " in page.text["p"]
    assert "(conv2 · saliency, conv2 · lime and conv10 · saliency)" in page.text["span"]
    assert LIMITS_TEXT in page.text["p"]


def test_failures_come_first_with_their_errors(sweep: Path) -> None:
    text, page = read(sweep)
    assert ERROR + EVIL in page.text["p"]
    assert page.text["h3"] == ["conv10 · lime"]
    assert text.index("Failures") < text.index("Ask again")
    assert page.text["small"] == [ERROR + EVIL]  # and in the table
    assert EVIL not in text


def test_table_has_one_sortable_row_per_job(sweep: Path) -> None:
    text, _ = read(sweep)
    table = text[text.index('<table id="jobs"') : text.index("</table>", text.index('<table id="jobs"'))]
    assert re.findall(r'data-sort="(\w+)">([^<]+)', table) == [
        *(("order", "layer"), ("order", "explainer"), ("text", "state")),
        *(("number", "sharpness"), ("number", "explained"), ("number", "seconds")),
    ]
    rows = [re.findall(r'data-value="([^"]*)"', row) for row in table.split("<tr")[2:]]
    assert rows == [
        ["0", "0", "answered", "12.0", "7", "2.5"],
        ["0", "1", "answered", "0.123456", "7", "2.5"],
        ["1", "0", "answered", "0.25", "7", "2.5"],
        ["1", "1", "failed", "", "", ""],
    ]
    texts = [re.findall(r'<td class="n"[^>]*>([^<]*)<', row) for row in table.split("<tr")[2:]]
    assert texts == [["12", "7", "2.5"], ["0.1235", "7", "2.5"], ["0.25", "7", "2.5"], ["", "", ""]]


def test_links_lead_to_the_answers(sweep: Path) -> None:
    _, page = read(sweep)
    links = [str(given["href"]) for tag, given in page.tags if tag == "a"]
    names = {given.get("id") for _, given in page.tags}
    assert all(link[1:] in names for link in links if link.startswith("#"))
    targets = [link for link in links if not link.startswith("#")]
    # From the grid, the thumbnail and the name in the table; none to the job that failed.
    assert len(targets) == 3 * 3
    assert all((sweep / unquote(target)).is_file() for target in targets)
    figures = [str(given["data-figure"]) for tag, given in page.tags if tag == "option"]
    assert len(figures) == 2 * 3
    assert all((sweep / unquote(figure)).is_file() for figure in figures)


def test_folders_of_any_name_are_linked(tmp_path: Path) -> None:
    answered(tmp_path, ["layer=a b#1?x%20"])
    _, page = read(tmp_path, "")
    targets = [str(given["href"]) for tag, given in page.tags if tag == "a"]
    assert targets
    assert all("#" not in target and "?" not in target for target in targets)
    assert all((tmp_path / unquote(target)).is_file() for target in targets)


def test_nothing_is_loaded_and_nothing_of_the_folders_is_run(sweep: Path) -> None:
    text, page = read(sweep)
    assert [tag for tag, _ in page.tags if tag in ("script", "link", "iframe", "base", "object")] == ["script"]
    assert re.findall(r"https?://|@import|url\(|src=\"(?!data:)", text) == []
    assert all(not name.startswith("on") for _, given in page.tags for name in given)
    names = [given["id"] for _, given in page.tags if "id" in given]
    assert len(names) == len(set(names))


def test_pictures_are_small_and_say_what_they_show(tmp_path: Path) -> None:
    answered(tmp_path, ["layer=conv1"], size=(1950, 650))
    text, page = read(tmp_path, "")
    images = [given for tag, given in page.tags if tag == "img" and "src" in given]
    assert [given["alt"] for given in images] == ["conv1. Seen at conv1.", "Report of conv1"]
    for given, size in zip(images, ((480, 160), (192, 128)), strict=True):
        data = base64.b64decode(str(given["src"]).removeprefix("data:image/jpeg;base64,"))
        with Image.open(io.BytesIO(data)) as picture:
            assert picture.size == size
            assert picture.format == "JPEG"
            assert picture.getpixel((5, 5)) == pytest.approx((45, 120, 200), abs=4)
        assert (given["width"], given["height"]) == (str(size[0]), str(size[1]))
    assert len(text) < 40_000
    assert "compare" not in [given.get("id") for _, given in page.tags]  # nothing to compare one job with


@pytest.mark.parametrize("harm", ["gone", "broken"])
def test_a_figure_that_cannot_be_read_is_left_out(sweep: Path, harm: str) -> None:
    figure = sweep / "conv2-lime" / "figures" / "overview.png"
    figure.unlink()
    if harm == "broken":
        figure.write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    _, page = read(sweep)
    assert "answered, without a figure" in page.text["p"]
    assert len([tag for tag, given in page.tags if tag == "img" and "src" in given]) == 2 * 2


def test_two_axes_are_a_grid_and_three_a_grid_each(tmp_path: Path) -> None:
    for layer in ("conv1", "conv2", "conv3"):
        for explainer in ("saliency", "lime"):
            for seed in (0, 1):
                answered(tmp_path, [f"layer={layer}", f"explainer={explainer}", f"seed={seed}"])
    text, page = read(tmp_path, "")
    assert page.text["h3"] == ["seed 0", "seed 1"]
    grids = re.findall(r'<table class="grid">.*?</table>', text, re.DOTALL)
    assert len(grids) == 2
    for seed, grid in enumerate(grids):
        links = re.findall(r'href="([^"]+)/report.html"', grid)
        assert links == [
            f"{layer}-{name}-{seed}" for layer in ("conv1", "conv2", "conv3") for name in ("lime", "saliency")
        ]
        assert re.findall(r'scope="row">(\w+)', grid) == ["conv1", "conv2", "conv3"]


def test_one_axis_is_a_strip_in_natural_order(tmp_path: Path) -> None:
    for layer in ("conv10", "conv9", "input"):
        answered(tmp_path, [f"layer={layer}"])
    text, page = read(tmp_path, "")
    strip = text[text.index('<div class="strip">') : text.index("</section>", text.index('<div class="strip">'))]
    assert re.findall(r">([^<>]+)</a></figcaption>", strip) == ["input", "conv9", "conv10"]
    assert page.text["h1"] == ["saliency of vgg8 on faces, by layer"]


def test_trends_are_drawn_for_numbers_that_vary(sweep: Path) -> None:
    text, page = read(sweep)
    (chart,) = [given for tag, given in page.tags if tag == "svg" and given.get("class") == "chart"]
    caption = "sharpness over layer. saliency: conv2 12, conv10 0.25; lime: conv2 0.1235."
    assert chart["aria-label"] == caption
    assert "0.1235 (conv2) to 12 (conv2)" in page.text["figcaption"]
    assert [name.strip() for name in page.text["li"]] == ["saliency", "lime"]
    assert "--c7" in text


def test_many_numbers_are_folded_away_but_all_there(tmp_path: Path) -> None:
    numbers = {f"number{index}": index + 0.5 for index in range(20)}
    answered(tmp_path, ["seed=0"], numbers)
    answered(tmp_path, ["seed=1"], {name: value + 100 for name, value in numbers.items()})
    text, page = read(tmp_path, "")
    assert page.text["summary"] == ["8 more", "20 numbers of each question"]
    folded = text[text.index("20 numbers of each question") :]
    rows = re.findall(r'<th scope="row">(\w+)</th><td class="n">([\d.]+)</td><td class="n">([\d.]+)</td>', folded)
    assert rows == [(f"number{index}", f"{index + 0.5:.4g}", f"{index + 100.5:.4g}") for index in range(20)]
    assert text.count('class="chart"') == 20


def test_same_folder_same_page(sweep: Path) -> None:
    assert write_sweep(sweep, COMMAND).read_bytes() == write_sweep(sweep, COMMAND).read_bytes()
    assert write_sweep(sweep) == sweep / "index.html"


def test_the_command_is_saved_as_it_was_typed(sweep: Path) -> None:
    write_sweep(sweep, COMMAND)
    first = (sweep / "index.html").read_bytes()
    (sweep / "index.html").unlink()
    assert write_sweep(sweep).read_bytes() == first


def test_pages_of_the_jobs_link_to_that_of_the_sweep(sweep: Path) -> None:
    jobs = [path.parent for path in sweep.glob("*/summary.json")]
    for job in jobs:
        write_report(job)  # as a job does, before there is a page of the sweep
    assert not any(links_to_sweep(job) for job in jobs)
    write_sweep(sweep, COMMAND)
    assert all(links_to_sweep(job) for job in jobs)
    pages = [(job / "report.html").stat().st_mtime_ns for job in jobs]
    write_sweep(sweep, COMMAND)
    assert [(job / "report.html").stat().st_mtime_ns for job in jobs] == pages  # written once


def test_settings_and_hashes_of_all_jobs_are_listed(sweep: Path) -> None:
    for job, layer in (("conv2-lime", "conv2"), ("conv2-saliency", "conv2"), ("conv10-saliency", "conv10")):
        manifest = json.loads((sweep / job / "manifest.json").read_text())
        manifest["differs"] = {"layer": layer, "quiet": "true"}
        manifest["hashes"] = {"config": job, "data": "ab" * 32, "weights": layer * 4}
        (sweep / job / "manifest.json").write_text(json.dumps(manifest))
    _, page = read(sweep)
    assert page.text["td"][-4:] == [
        *("conv2 or conv10", "true"),
        *("ab" * 32, "2 different values, each on its question's page"),
    ]


def test_a_page_of_many_answers_stays_small(tmp_path: Path) -> None:
    # Harder to compress than maps of faces are: noise in half of the figure.
    figure = np.full((460, 600, 3), 255, np.uint8)
    figure[:230] = np.random.default_rng(0).integers(0, 255, (230, 600, 1), np.uint8)
    Image.fromarray(figure).save(tmp_path / "noise.png")
    for seed in range(40):
        folder = answered(tmp_path / "sweep", [f"seed={seed}"])
        shutil.copy(tmp_path / "noise.png", folder / "figures" / "overview.png")
    assert 1e6 < write_sweep(tmp_path / "sweep").stat().st_size < 6e6


def test_a_sweep_of_failures_has_a_page(tmp_path: Path) -> None:
    failed(tmp_path, ["layer=a"], ERROR)
    failed(tmp_path, ["layer=b"], ERROR)
    _, page = read(tmp_path, "")
    assert page.text["h1"] == ["A sweep over layer"]
    assert page.text["h3"] == ["a", "b"]


def test_an_empty_folder_has_a_page(tmp_path: Path) -> None:
    _, page = read(tmp_path, "")
    assert "0 questions: " in page.text["p"]


@pytest.mark.parametrize("name", ["summary.json", "failure.json", "manifest.json", "config.yaml"])
def test_a_damaged_file_of_one_job_does_not_hide_the_others(sweep: Path, name: str) -> None:
    (sweep / "conv2-lime" / name).write_text('{"title": ["a')
    text, page = read(sweep)
    problems = [text for text in page.text["p"] if "damaged" in text]
    assert len(problems) == 1
    assert problems[0].startswith(f"conv2-lime/{name} is damaged: expected ")
    broken = name in ("summary.json", "failure.json")
    assert re.findall(r">(\d+ \w+)</span>", text) == (
        ["2 answered", "2 failed"] if broken else ["3 answered", "1 failed"]
    )


def test_a_figure_outside_the_job_is_not_embedded(sweep: Path) -> None:
    path = sweep / "conv2-lime" / "summary.json"
    summary = json.loads(path.read_text())
    summary["figures"][0]["file"] = "../conv2-saliency/figures/overview.png"
    path.write_text(json.dumps(summary))
    _, page = read(sweep)
    assert "answered, without a figure" in page.text["p"]
    assert len([tag for tag, given in page.tags if tag == "img" and "src" in given]) == 2 * 2


@needs_browser
def test_labels_of_charts_are_whole_in_a_browser(tmp_path: Path) -> None:
    for model in ("vgg8", "mini_xception"):
        for layer in ("conv1", "conv10", "last_conv"):
            numbers = {"val/accuracy": len(model) / 20, "sharpness": len(layer) / 10 + len(model) / 20}
            answered(tmp_path, [f"model={model}", f"layer={layer}"], numbers)
    script = """
    const beyond = [...document.querySelectorAll("svg.chart text")].filter((label) => {
      const [text, chart] = [label, label.closest("svg")].map((element) => element.getBoundingClientRect());
      return text.left < chart.left || text.right > chart.right || text.bottom > chart.bottom;
    });
    return [document.querySelectorAll("svg.chart").length, beyond.map((label) => label.textContent)];
    """
    assert run_in_page(write_sweep(tmp_path), script) == [2, []]


@needs_browser
def test_sort_filter_and_compare_in_a_browser(sweep: Path) -> None:
    script = """
    const rows = () => [...table.tBodies[0].rows].filter((row) => !row.hidden).map((row) => row.cells[1].textContent
      + " " + row.cells[2].textContent);
    const heads = [...table.querySelectorAll("th button")];
    const results = { heads: heads.map((head) => head.textContent), first: rows() };
    const sharpness = heads[3], state = heads[2];
    sharpness.click();
    results.up = [rows(), sharpness.parentElement.getAttribute("aria-sort")];
    sharpness.click();
    results.down = [rows(), sharpness.parentElement.getAttribute("aria-sort")];
    state.click();
    results.state = [rows().at(-1), sharpness.parentElement.getAttribute("aria-sort")];
    heads[0].click();
    const type = (text) => { filter.value = text; filter.dispatchEvent(new Event("input")) };
    type("LIME conv2");
    results.filtered = [rows(), document.getElementById("matches").textContent];
    type("");
    results.all = rows().length;
    const [left, under, cut] = ["left", "under", "cut"].map((id) => document.getElementById(id));
    const whole = (image) => new Promise((done) => {
      const wait = () => image.naturalWidth === 600 ? done(decodeURI(image.src)) : setTimeout(wait, 20);
      wait();
    });
    results.hidden = compare.hidden;
    const folder = (path) => path.split("/").at(-3);
    results.pair = [folder(await whole(under)), folder(await whole(document.getElementById("over")))];
    left.value = left.options[2].value;
    left.dispatchEvent(new Event("change"));
    await new Promise((done) => setTimeout(done, 300));
    results.changed = folder(under.src);
    cut.value = 25;
    cut.dispatchEvent(new Event("input"));
    results.cut = getComputedStyle(document.getElementById("over")).clipPath;
    results.wide = document.documentElement.scrollWidth <= innerWidth;
    return results;
    """
    results = run_in_page(write_sweep(sweep, COMMAND), script)
    first = ["conv2 saliency", "conv2 lime", "conv10 saliency", "conv10 lime"]
    assert results == {
        "heads": ["layer", "explainer", "state", "sharpness", "explained", "seconds"],
        "first": first,
        "up": [["conv2 lime", "conv10 saliency", "conv2 saliency", "conv10 lime"], "ascending"],  # no number: last
        "down": [["conv2 saliency", "conv10 saliency", "conv2 lime", "conv10 lime"], "descending"],
        "state": ["conv10 lime", "none"],
        "filtered": [["conv2 lime"], "1 of 4"],
        "all": 4,
        "hidden": False,
        "pair": ["conv2-saliency", "conv10-saliency"],  # the first, and the last that differs in one axis
        "changed": "conv10-saliency",
        "cut": "inset(0px 0px 0px 25%)",
        "wide": True,
    }


@needs_browser
@pytest.mark.parametrize(("width", "dark"), [(390, True), (1280, False)])
def test_page_has_no_flaw_in_a_browser(sweep: Path, width: int, dark: bool) -> None:
    results = run_in_page(write_sweep(sweep, f"{COMMAND} dataset.path={'/a/long/path' * 12}"), FLAWS, width, dark=dark)
    assert results == NO_FLAWS | LOOKS[dark] | {"width": width}


@needs_browser
def test_small_multiples_are_enlarged_in_a_browser(sweep: Path) -> None:
    script = """
    const dialog = document.querySelector("dialog");
    const [large, report] = ["img", "a"].map((name) => dialog.querySelector(name));
    const zooms = [...document.querySelectorAll(".grid .zoom")];
    const folder = (path, from) => decodeURI(path).split("/").at(from);
    const whole = () => new Promise((done) => {
      const wait = () => large.naturalWidth === 600 ? done(folder(large.src, -3)) : setTimeout(wait, 20);
      wait();
    });
    const results = { zooms: zooms.length, links: document.querySelectorAll(".grid a").length };
    zooms[1].click();
    results.opened = [dialog.open, await whole(), folder(report.href, -2)];
    dialog.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight" }));
    results.next = [await whole(), folder(report.href, -2), large.alt];
    return results;
    """
    assert run_in_page(write_sweep(sweep, COMMAND), script) == {
        "zooms": 3,
        "links": 0,  # they are buttons now, and the links are in the enlargement and in the table
        "opened": [True, "conv2-lime", "conv2-lime"],
        "next": ["conv10-saliency", "conv10-saliency", "conv10 · saliency. Seen at conv10."],
    }


@needs_browser
def test_a_page_on_its_own_compares_what_it_has(sweep: Path, tmp_path: Path) -> None:
    page = write_sweep(sweep, COMMAND)
    alone = tmp_path / "alone" / "index.html"
    alone.parent.mkdir()
    # What the browser says of the figures that are gone is no complaint of the page's.
    alone.write_text(page.read_text(encoding="utf-8"))
    results = run_in_page(alone, 'return [document.getElementById("under").naturalWidth, compare.hidden]')
    assert results == [480, False]


def test_sweep_is_read_without_torch_or_matplotlib(sweep: Path) -> None:
    code = (
        "import sys, json; from pathlib import Path; from fervis.reporting.sweep.page import write_sweep\n"
        "write_sweep(Path(sys.argv[1])); print(json.dumps(sorted({'torch', 'matplotlib', 'hydra'} & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(sweep)], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
