"""Files of a run folder that may be damaged or crafted: torn JSON, figures that lead out of the folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.pages import PNG

from fervis.reporting.run_files import data_uri, figure_path, read_config, read_json_object


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    (folder / "figures").mkdir(parents=True)
    (folder / "figures" / "overview.png").write_bytes(PNG)
    (tmp_path / "secret.png").write_bytes(PNG)
    (tmp_path / "secret.txt").write_text("secret")
    return folder


def test_a_figure_inside_the_folder_is_returned(run: Path) -> None:
    assert figure_path(run, "figures/overview.png") == run / "figures" / "overview.png"
    (run / "link.png").symlink_to(run / "figures" / "overview.png")
    assert figure_path(run, "link.png") == run / "link.png"


@pytest.mark.parametrize(
    "name",
    [
        *("../secret.png", "figures/../../secret.png", "figures/../figures/overview.png", "../secret.txt"),
        *("/etc/hostname", "figures", "figures/missing.png", "", ".", "a\0.png", "x" * 5000 + ".png"),
        *('a."onerror="alert(1)', 7, None, ["figures/overview.png"]),
    ],
)
def test_other_names_are_refused(run: Path, name: object) -> None:
    (run / 'a."onerror="alert(1)').write_bytes(PNG)
    assert figure_path(run, name) is None


def test_an_absolute_name_is_refused_even_inside_the_folder(run: Path) -> None:
    assert figure_path(run, str(run / "figures" / "overview.png")) is None


def test_links_that_lead_out_loops_and_pipes_are_refused(run: Path) -> None:
    (run / "out.png").symlink_to(run.parent / "secret.png")
    (run / "loop.png").symlink_to(run / "loop.png")
    (run / "away").symlink_to(run.parent)
    os.mkfifo(run / "pipe.png")
    assert [figure_path(run, name) for name in ("out.png", "loop.png", "away/secret.png", "pipe.png")] == [None] * 4


def test_a_folder_that_is_itself_a_link_keeps_its_figures(run: Path) -> None:
    (run.parent / "alias").symlink_to(run)
    assert figure_path(run.parent / "alias", "figures/overview.png") is not None


@pytest.mark.parametrize(
    ("ending", "kind"), [(".png", "png"), (".jpg", "jpeg"), (".JPEG", "jpeg"), (".svg", "svg+xml")]
)
def test_image_types_are_those_of_browsers(ending: str, kind: str) -> None:
    assert data_uri(b"ab", ending) == f"data:image/{kind};base64,YWI="


@pytest.mark.parametrize("text", ['{"title": "a', "", "[1]", '"words"', "\N{REPLACEMENT CHARACTER}", "[" * 100_000])
def test_a_damaged_table_is_named_in_one_sentence(run: Path, text: str) -> None:
    path = run / "summary.json"
    path.write_text(text)
    table, problem = read_json_object(path)
    assert table == {}
    assert problem.startswith("run/summary.json is damaged: expected ")
    assert problem.endswith(".")
    assert "\n" not in problem


def test_bytes_that_are_no_text_are_named_too(run: Path) -> None:
    for name in ("summary.json", "config.yaml"):
        (run / name).write_bytes(b"\xff\xfe\x00")
    assert "summary.json is damaged" in read_json_object(run / "summary.json")[1]
    assert "config.yaml is damaged" in read_config(run)[2]


def test_a_missing_file_or_a_pipe_is_no_damage(run: Path) -> None:
    assert read_json_object(run / "manifest.json") == ({}, "")
    os.mkfifo(run / "manifest.json")
    assert read_json_object(run / "manifest.json") == ({}, "")


def test_a_damaged_config_keeps_its_text(run: Path) -> None:
    (run / "config.yaml").write_text("layer: [conv1\n")
    text, settings, problem = read_config(run)
    assert (text, settings) == ("layer: [conv1\n", {})
    assert problem.startswith("run/config.yaml is damaged: expected YAML, got ")
