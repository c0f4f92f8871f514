"""The package as it is installed: its name beside another project's, its public names, and what it imports."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from support.command import ROOT

import fervis
from fervis.system.distribution import DISTRIBUTION, SUMMARY

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def run(*arguments: str, cwd: Path, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    folders = [str(ROOT), *([str(path)] if path else [])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(folders)}
    command = [sys.executable, "-m", "fervis", *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)


def test_the_distribution_is_not_named_as_the_stranger_on_pypi():
    project = PYPROJECT["project"]
    assert (project["name"], project["description"]) == (DISTRIBUTION, SUMMARY) == ("fervis-xai", SUMMARY)
    sources = [path for folder in ("fervis", "tests", "docs", "conf") for path in (ROOT / folder).rglob("*.*")]
    texts = [ROOT / "README.md", ROOT / "pyproject.toml", ROOT / "Makefile", *sources]
    wrong = "fervis" + "["  # what pip would fetch the stranger by
    named = [path for path in texts if path.suffix in (".py", ".md", ".toml", ".yaml", "") and path.is_file()]
    assert [path for path in named if f" '{wrong}" in path.read_text() or f" {wrong}" in path.read_text()] == []


def test_public_names():
    assert {"ConfigError", "RunError", "ask", "explain", "load_model", "names", "__version__"} <= {*dir(fervis)}
    assert not {"import_module", "annotations", "TYPE_CHECKING"} & {*dir(fervis)}
    assert re.fullmatch(r"\d+\.\d+\.\d+", fervis.__version__)
    assert all(getattr(fervis, name) is not None for name in dir(fervis))


@pytest.mark.parametrize(
    ("summary", "warned"), [("Deterministic, auditable LLM answers over REST APIs", True), (SUMMARY, False)]
)
def test_a_foreign_package_of_the_same_name_is_named(tmp_path: Path, summary: str, warned: bool):
    metadata = tmp_path / "site" / "fervis-0.1.5.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text(f"Metadata-Version: 2.1\nName: fervis\nVersion: 0.1.5\nSummary: {summary}\n")
    done = run("list", "tracker", cwd=tmp_path, path=tmp_path / "site")
    assert done.returncode == 0
    assert ("another project's package fervis 0.1.5 is installed" in done.stderr) == warned
    assert len(done.stderr.splitlines()) == warned


def test_no_file_of_the_current_folder_is_imported(tmp_path: Path):
    for name in ("lime", "hydra", "yaml", "typing", "tqdm"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the current folder was imported')\n")
    (tmp_path / "hydra_plugins").mkdir()
    (tmp_path / "hydra_plugins" / "evil.py").write_text("raise SystemExit('the current folder was imported')\n")
    done = run("--cfg", "job", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "explainer:" in done.stdout
