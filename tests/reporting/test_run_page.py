import base64
import json
import re
from pathlib import Path

import pytest
from PIL import Image
from support.browser import needs_browser, run_in_page
from support.pages import EVIL, FLAWS, LIMITS_TEXT, LOOKS, NO_FLAWS, PNG, Page

from fervis.reporting.run_page import links_to_sweep, write_report
from fervis.system.console import log


def answered(folder: Path) -> Path:
    (folder / "figures").mkdir(parents=True)
    (folder / "figures" / "299.png").write_bytes(PNG)
    (folder / "config.yaml").write_text(f"layer: conv7\nnote: '{EVIL}'\n")
    entries = [
        {"row": 299, "label": "angry", "predicted": "happy", "probability": 0.931234, "layer": "conv7", "target": EVIL},
        {"row": 300, "label": "sad", "predicted": "sad", "probability": 0.5, "layer": "conv7", "target": "sad"},
    ]
    summary = {
        "title": f"saliency at conv7 of vgg8 on faces {EVIL}",
        "entries": entries,
        "numbers": {"accuracy": 0.643212, "faces": 2, EVIL: None},
        "figures": [{"file": "figures/299.png", "caption": f"Face 299 {EVIL}"}],
    }
    manifest = {
        "fervis": "0.1.0",
        "command": f"python -m fervis 'explainer=saliency' layer=conv7 {EVIL}",
        "question_id": "1a2b3c4d",
        "versions": {"torch": "2.13.0"},
        "hashes": {"config": "ab" * 32},
        "inputs": {"faces.csv": {"bytes": 12}},
        "seed": 0,
        "device": "cpu",
        "precision": "fp32",
        "started": "2026-11-23T19:45:00+00:00",
        "seconds": {"load": 0.25, "explain": 1.5},
        "warnings": [f"careful {EVIL}"],
    }
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_page_shows_everything_in_the_folder(tmp_path: Path) -> None:
    path = write_report(answered(tmp_path / "run"))
    assert path == tmp_path / "run" / "report.html"
    page = Page(path.read_text(encoding="utf-8"))
    assert page.text["h1"] == [f"saliency at conv7 of vgg8 on faces {EVIL}"]
    assert page.text["code"] == [f"python -m fervis 'explainer=saliency' layer=conv7 {EVIL}"]
    headings = ["Figures", "Answers", "Numbers", "Ask again", "Settings"]
    assert page.text["h2"] == [*headings, "How it was computed", "What it was computed from"]
    assert page.text["h3"] == ["Seconds", "Versions"]
    assert page.text["td"] == [
        *("299", "angry", "happy ✗", "0.9312", "conv7", EVIL),
        *("300", "sad", "sad ✓", "0.5", "conv7", "sad"),
        *("0.6432", "2"),
        *("0.25", "1.5", "1.75"),
        *("2.13.0", "ab" * 32),
    ]
    assert f"layer: conv7\nnote: '{EVIL}'\n" in page.text["pre"]
    assert LIMITS_TEXT in page.text["p"]
    assert f"careful {EVIL}" in page.text["p"]
    assert "question 1a2b3c4d · seed 0 · device cpu · precision fp32 · 2026-11-23 19:45 UTC" in page.text["p"]


def test_pictures_are_inside_with_their_captions(tmp_path: Path) -> None:
    page = Page(write_report(answered(tmp_path / "run")).read_text(encoding="utf-8"))
    (image,) = [attributes for tag, attributes in page.tags if tag == "img"]
    assert image["src"] == "data:image/png;base64," + base64.b64encode(PNG).decode()
    assert image["alt"] == f"Face 299 {EVIL}"
    assert page.text["figcaption"] == [f"Face 299 {EVIL}"]


def test_nothing_is_loaded_and_nothing_of_the_folder_is_run(tmp_path: Path) -> None:
    text = write_report(answered(tmp_path / "run")).read_text(encoding="utf-8")
    page = Page(text)
    assert [tag for tag, _ in page.tags if tag in ("script", "link", "iframe", "base")] == ["script"]
    assert EVIL not in text
    assert re.findall(r"https?://|@import|url\(", text) == []
    assert all("data:" in (value or "") for _, given in page.tags for name, value in given.items() if name == "src")
    assert all(not name.startswith("on") for _, given in page.tags for name in given)


def test_same_folder_same_page(tmp_path: Path) -> None:
    folder = answered(tmp_path / "run")
    assert write_report(folder).read_bytes() == write_report(folder).read_bytes()
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.yaml",
        "figures",
        "manifest.json",
        "report.html",
        "summary.json",
    ]


def test_what_is_missing_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "saliency-1a2b3c4d").mkdir()
    page = Page(write_report(tmp_path / "saliency-1a2b3c4d").read_text(encoding="utf-8"))
    assert page.text["h1"] == ["saliency-1a2b3c4d"]
    assert "h2" not in page.text
    assert LIMITS_TEXT in page.text["p"]


@pytest.mark.parametrize("missing", ["label", "predicted", "probability", "layer", "target"])
def test_entries_may_lack_keys(tmp_path: Path, missing: str) -> None:
    folder = answered(tmp_path / "run")
    summary = json.loads((folder / "summary.json").read_text())
    del summary["entries"][0][missing]
    (folder / "summary.json").write_text(json.dumps(summary))
    cells = Page(write_report(folder).read_text(encoding="utf-8")).text["td"]
    assert cells[:2] == (["299", "happy"] if missing == "label" else ["299", "angry"])


def test_a_missing_figure_is_named(tmp_path: Path) -> None:
    folder = answered(tmp_path / "run")
    (folder / "figures" / "299.png").unlink()
    page = Page(write_report(folder).read_text(encoding="utf-8"))
    assert "figures/299.png is missing from the run folder, or is no image file inside it." in page.text["p"]


QUESTION = """
dataset: {name: fer2013}
model: {name: vgg8, weights: fer2013}
explainer: {name: saliency}
split: test
faces: per_class:2
layer: conv7
target: predicted
seed: 3
"""


def test_question_is_described_in_words(tmp_path: Path) -> None:
    folder = answered(tmp_path / "run")
    (folder / "config.yaml").write_text(QUESTION)
    page = Page(write_report(folder).read_text(encoding="utf-8"))
    assert page.text["p"][0] == (
        "What saliency at conv7 says about vgg8 with the weights that fervis ships for fer2013, for the class "
        "predicted for each face, on 2 faces of each class of the test split of fer2013; seed 3."
    )


def test_settings_that_differ_from_the_default_are_listed(tmp_path: Path) -> None:
    folder = answered(tmp_path / "run")
    manifest = json.loads((folder / "manifest.json").read_text())
    differs = {"layer": ["conv1", "conv7"], "target": EVIL, "model.weights": None, "trainer.votes": True}
    (folder / "manifest.json").write_text(json.dumps(manifest | {"differs": differs}))
    page = Page(write_report(folder).read_text(encoding="utf-8"))
    assert "Settings that differ from the default" in page.text["h2"]
    cells = page.text["td"]
    index = cells.index("conv1, conv7")
    assert cells[index : index + 4] == ["conv1, conv7", EVIL, "none", "true"]


def test_other_values_of_an_entry_are_in_the_table(tmp_path: Path) -> None:
    folder = answered(tmp_path / "run")
    summary = json.loads((folder / "summary.json").read_text())
    summary["entries"] = [
        {"layer": "conv7", "target": "conv7/4", "reached": 1.23456, "rows": [1, 2], "deep": {"a": 1}, "row": None},
        {"layer": "conv7", "target": "conv7/5", "reached": None, "row": 4},
    ]
    (folder / "summary.json").write_text(json.dumps(summary))
    page = Page(write_report(folder).read_text(encoding="utf-8"))
    columns = [given for tag, given in page.tags if tag == "th" and given.get("scope") == "col"]
    assert page.text["th"][: len(columns)] == ["row", "layer", "target", "reached"]
    assert [given.get("class") for given in columns] == ["n", None, None, "n"]
    assert page.text["td"][:7] == ["conv7", "conv7/4", "1.235", "4", "conv7", "conv7/5", "0.6432"]


def test_a_job_links_to_the_page_of_its_sweep_where_there_is_one(tmp_path: Path) -> None:
    folder = answered(tmp_path / "sweep" / "run")
    write_report(folder)
    assert not links_to_sweep(folder)
    (tmp_path / "sweep" / "index.html").write_text("<!doctype html>")
    page = Page(write_report(folder).read_text(encoding="utf-8"))
    assert links_to_sweep(folder)
    (link,) = [str(given["href"]) for tag, given in page.tags if tag == "a" and not str(given["href"]).startswith("#")]
    assert (folder / link).resolve() == tmp_path / "sweep" / "index.html"


def test_a_run_of_a_sweep_links_to_its_page_from_the_start(tmp_path: Path) -> None:
    folder = answered(tmp_path / "sweep" / "run")
    manifest = json.loads((folder / "manifest.json").read_text())
    for sweep, linked in (("layer-1a2b3c4d", True), (None, False)):
        (folder / "manifest.json").write_text(json.dumps(manifest | {"sweep": sweep}))
        write_report(folder)
        assert links_to_sweep(folder) == linked


@pytest.mark.parametrize("file", ["../secret.txt", "../secret.png", "/etc/hostname", 'a."onerror="alert(1)'])
def test_a_figure_elsewhere_is_not_embedded(tmp_path: Path, file: str) -> None:
    folder = answered(tmp_path / "run")
    for name in ("secret.txt", "secret.png"):
        (tmp_path / name).write_text("the secret")
    (folder / 'a."onerror="alert(1)').write_bytes(PNG)
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps(summary | {"figures": [{"file": file, "caption": "A"}]}))
    page = Page(write_report(folder).read_text(encoding="utf-8"))
    assert [tag for tag, _ in page.tags if tag == "img"] == []
    assert f"{file} is missing from the run folder, or is no image file inside it." in page.text["p"]


@pytest.mark.parametrize("name", ["summary.json", "manifest.json", "config.yaml"])
def test_a_damaged_file_is_named_on_the_page(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "propagate", True)
    folder = answered(tmp_path / "run")
    (folder / name).write_text('{"title": ["a')
    page = Page(write_report(folder).read_text(encoding="utf-8"))
    (problem,) = [text for text in page.text["p"] if "damaged" in text]
    assert problem.startswith(f"run/{name} is damaged: expected ")
    assert caplog.messages == [problem]
    assert ("Figures" in page.text["h2"]) == (name != "summary.json")
    assert ("Ask again" in page.text["h2"]) == (name != "manifest.json")


@pytest.mark.parametrize("value", [None, 3, "words", [1, [2]], {"a": {"b": None}}])
@pytest.mark.parametrize(
    ("name", "key"),
    [
        *(("summary.json", key) for key in ("title", "entries", "numbers", "figures")),
        *(
            ("manifest.json", key)
            for key in ("seconds", "versions", "hashes", "differs", "warnings", "inputs", "started")
        ),
    ],
)
def test_values_of_another_kind_do_not_break_the_page(tmp_path: Path, name: str, key: str, value: object) -> None:
    folder = answered(tmp_path / "run")
    table = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps(table | {key: value}))
    assert LIMITS_TEXT in Page(write_report(folder).read_text(encoding="utf-8")).text["p"]


def test_sections_are_linked_at_the_top(tmp_path: Path) -> None:
    page = Page(write_report(answered(tmp_path / "run")).read_text(encoding="utf-8"))
    links = [str(given["href"]) for tag, given in page.tags if tag == "a"]
    assert page.text["a"] == page.text["h2"]
    assert links == [f"#{given['id']}" for tag, given in page.tags if tag == "section"]


@needs_browser
@pytest.mark.parametrize(("width", "dark"), [(390, False), (1280, True)])
def test_page_has_no_flaw_in_a_browser(tmp_path: Path, width: int, dark: bool) -> None:
    folder = answered(tmp_path / "run")
    Image.new("RGB", (900, 400), (80, 0, 0)).save(folder / "figures" / "299.png")
    (folder / "config.yaml").write_text(QUESTION)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["differs"] = {"dataset.path": "/a/long/path" * 12, "target": EVIL}
    manifest["command"] += " dataset.path=" + "/a/long/path" * 12
    (folder / "manifest.json").write_text(json.dumps(manifest))
    results = run_in_page(write_report(folder), FLAWS, width, dark=dark)
    assert results == NO_FLAWS | LOOKS[dark] | {"width": width}


@needs_browser
def test_no_script_but_the_pages_own_runs_in_a_browser(tmp_path: Path) -> None:
    script = """
    const script = document.createElement("script");
    script.textContent = "window.intruder = true";
    document.body.append(script);
    document.body.insertAdjacentHTML("beforeend", "<img src=https://example.org/pixel.png alt=pixel>");
    await new Promise((done) => setTimeout(done, 300));
    return [window.intruder ?? null, complaints.splice(0).filter((text) => text.startsWith("policy")).sort()];
    """
    answer = run_in_page(write_report(answered(tmp_path / "run")), script)
    assert answer == [None, ["policy: img-src", "policy: script-src-elem"]]


@needs_browser
def test_figures_are_enlarged_in_a_browser(tmp_path: Path) -> None:
    folder = answered(tmp_path / "run")
    summary = json.loads((folder / "summary.json").read_text())
    for index in range(3):
        Image.new("RGB", (40, 30), (80 * index, 0, 0)).save(folder / "figures" / f"{index}.png")
    figures = [{"file": f"figures/{index}.png", "caption": f"Figure {index}"} for index in range(3)]
    (folder / "summary.json").write_text(json.dumps(summary | {"figures": figures}))
    script = """
    const dialog = document.querySelector("dialog");
    const zooms = [...document.querySelectorAll("figure > .zoom")];
    const seen = () => [dialog.open, dialog.querySelector("img").alt, dialog.querySelector("span").textContent];
    const press = (key) => dialog.dispatchEvent(new KeyboardEvent("keydown", { key }));
    const results = { closed: dialog.open, zooms: zooms.map((zoom) => zoom.firstChild.alt) };
    zooms[1].focus();
    zooms[1].click();
    results.opened = seen();
    press("ArrowRight"); press("ArrowRight");
    results.around = seen();
    press("ArrowLeft");
    results.back = seen();
    const closed = new Promise((done) => dialog.addEventListener("close", () => setTimeout(done, 50), { once: true }));
    dialog.close();
    await closed;
    results.after = [dialog.open, zooms.indexOf(document.activeElement)];
    results.link = dialog.querySelector("a").hidden;
    return results;
    """
    assert run_in_page(write_report(folder), script) == {
        "link": True,  # a figure of this page is no answer of its own
        "closed": False,
        "zooms": ["Figure 0", "Figure 1", "Figure 2"],
        "opened": [True, "Figure 1", "2 of 3"],
        "around": [True, "Figure 0", "1 of 3"],
        "back": [True, "Figure 2", "3 of 3"],
        "after": [False, 2],
    }
