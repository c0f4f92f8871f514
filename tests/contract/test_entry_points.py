"""Adding an explainer: one file and one YAML in the house, or a package of one's own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.command import ROOT, SMALL

CODE = '''"""Brightness: how bright each pixel is, whatever the network."""

from dataclasses import dataclass
from typing import ClassVar

from fervis.core.layers import resize_maps as to_size
from fervis.models.hooks import gradients
from fervis.core.results import HeatMaps


@dataclass
class Brightness:
    """Gradient times brightness.

    Attributes:
        power: exponent of the brightness.
    """

    power: float = 1.0
    kind: ClassVar[str] = HeatMaps.kind
    default_layer: ClassVar[str] = "input"

    def explain(self, model, images, target, layer, generator):
        """Explain."""
        slopes = gradients(model, images, target, ["input"]).gradients["input"]
        return HeatMaps((slopes * images**self.power).sum(1), "brightness", signed=True)
'''
YAML = "# gradient times brightness, for a test\nname: brightness\npower: 1.0\n"


def run(*command: str, cwd: Path, path: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(path)}
    return subprocess.run(
        [sys.executable, *command], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300
    )


def check(cwd: Path, path: Path) -> None:
    listed = run("-m", "fervis", "list", cwd=cwd, path=path).stdout
    assert "brightness gradient times brightness, for a test" in " ".join(listed.split())
    assert "explainer brightness, " in " ".join(run("-m", "fervis", "--help", cwd=cwd, path=path).stdout.split())
    mistake = run("-m", "fervis", "explainer=brightnes", cwd=cwd, path=path)
    assert mistake.returncode == 2
    assert "Did you mean brightness?" in mistake.stderr
    wrong = run("-m", "fervis", *SMALL, "explainer=brightness", "explainer.power=x", cwd=cwd, path=path)
    assert wrong.returncode == 2
    assert "explainer.power=x" in wrong.stderr
    answer = run("-m", "fervis", *SMALL, "explainer=brightness", "explainer.power=2", cwd=cwd, path=path)
    assert answer.returncode == 0, answer.stderr
    assert (Path(answer.stdout.splitlines()[-1]) / "summary.json").is_file()


def test_one_file_and_one_yaml(tmp_path: Path):
    for part in ("fervis", "conf", "experiments", "tests"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "fervis/explainers/brightness.py").write_text(CODE)
    (tmp_path / "conf/explainer/brightness.yaml").write_text(YAML)
    check(tmp_path, tmp_path)
    contract = run("-m", "pytest", "tests/contract", "-k", "brightness", cwd=tmp_path, path=tmp_path)
    assert contract.returncode == 0, contract.stdout
    assert " passed" in contract.stdout or "%]" in contract.stdout


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package with an explainer of its own, built and installed into a folder."""
    source = tmp_path / "source"
    (source / "bright" / "conf" / "explainer").mkdir(parents=True)
    (source / "bright" / "__init__.py").write_text("")
    (source / "bright" / "conf" / "__init__.py").write_text("")
    (source / "bright" / "method.py").write_text(CODE)
    (source / "bright" / "conf" / "explainer" / "brightness.yaml").write_text(YAML)
    (source / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
        '[project]\nname = "bright"\nversion = "1"\n'
        '[project.entry-points."fervis.explainers"]\nbrightness = "bright.method:Brightness"\n'
        '[project.entry-points."fervis.conf"]\nbright = "bright.conf"\n'
    )
    installed = tmp_path / "installed"
    pip = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    done = run(
        *pip, "--disable-pip-version-check", "--target", str(installed), str(source), cwd=tmp_path, path=tmp_path
    )
    assert done.returncode == 0, done.stderr
    return installed


def test_a_package_of_ones_own(package: Path, tmp_path: Path):
    check(tmp_path, package)
