"""The examples of README, CONTRIBUTING and docs run: Python as it stands, plug-ins as a package, commands composed."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from support.command import ROOT, SMALL

DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
RUN = ["README.md", "CONTRIBUTING.md", "docs/python.md", "docs/own-plugin.md"]  # documents whose Python is run
WITH_QUESTIONS = [ROOT / "experiments" / "README.md", *DOCUMENTS]
SETTINGS = {"", "train", "layers", "audit", "-m", "-q"}  # what may stand before the settings of a question
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and the file that the line before it names, if any."""

    language: str
    text: str
    file: str


def blocks(document: Path) -> list[Block]:
    text = document.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        before = text[: match.start()].rstrip().rpartition("\n")[2]
        named = re.fullmatch(r"`([\w./]+)`:", before)
        found.append(Block(match[1], match[2], named[1] if named else ""))
    return found


def run_in(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of CONTRIBUTING.md, file by file, installed: with the entry points that it lists."""
    folder = tmp_path_factory.mktemp("package")
    listed: dict[str, dict[str, str]] = {}
    for block in blocks(ROOT / "CONTRIBUTING.md"):
        if block.file:
            path = folder / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
        elif block.language == "toml":
            listed |= tomllib.loads(block.text)["project"]["entry-points"]
    for name in ("my_package", "my_package/conf"):
        (folder / name / "__init__.py").write_text("", encoding="utf-8")
    metadata = folder / "my_package-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n", encoding="utf-8")
    groups = (f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in points.items()) for group, points in listed.items())
    (metadata / "entry_points.txt").write_text("\n".join(groups), encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", RUN)
def test_the_python_of_a_document_runs(name: str, package: Path):
    code = [block.text for block in blocks(ROOT / name) if block.language == "python" and not block.file]
    small = (
        "import fervis\nfrom fervis.runs.api import ask\n"
        f"fervis.ask = lambda overrides: ask([*{SMALL!r}, 'model.width=4', 'visualizer.dpi=60', *overrides])\n"
    )
    assert code
    done = run_in(package, "-W", "error::DeprecationWarning:__main__", "-c", small + "\n".join(code))
    assert done.returncode == 0, done.stderr


def test_the_plugins_of_contributing_answer_many_images_in_shards(package: Path):
    options = ["explainer=my_cam", "model=my_net", "evidence=[my_mass]", "tracker=my_tracker", "explainer.gamma=0.5"]
    sizes = ["dataset.per_class_train=20", "dataset.per_class_val=5", "dataset.per_class_test=40", "trainer.epochs=1"]
    settings = [*options, *sizes, "visualizer.dpi=60", "faces=all", "split=test"]
    done = run_in(package, "-m", "fervis", "-m", *settings, "shard=1/2,2/2", "quiet=true")
    assert done.returncode == 0, done.stderr
    merged = run_in(package, "-m", "fervis", *settings, "quiet=true")
    assert merged.returncode == 0, merged.stderr
    folder = package / merged.stdout.splitlines()[-1]
    with np.load(folder / "arrays.npz") as arrays:
        assert arrays["maps"].shape == (280, 48, 48)
        shares = arrays["scores/my_mass"]
        assert ((shares[np.isfinite(shares)] >= 0) & (shares[np.isfinite(shares)] <= 1)).all()
        assert (arrays["highest"] >= 0).all()
    assert "my_mass" in (folder / "metrics.txt").read_text(encoding="utf-8")
    wrong = run_in(package, "-m", "fervis", "explainer=my_cam", "explainer.gamma=0")
    assert wrong.returncode == 2
    assert "explainer.gamma=0.0: expected a number above 0." in wrong.stderr


def test_the_kind_of_result_of_contributing_is_drawn(package: Path):
    random = np.random.default_rng(0)
    images, labels = random.integers(0, 256, (40, 24, 24), np.uint8), np.arange(40) % 2
    np.savez(package / "images.npz", images=images, labels=labels)
    settings = ["explainer=channel_mean", "dataset=my_faces", "dataset.path=images.npz", "model=my_net"]
    done = run_in(package, "-m", "fervis", *settings, "trainer.epochs=1", "visualizer.dpi=60", "quiet=true")
    assert done.returncode == 0, done.stderr
    folder = package / done.stdout.splitlines()[-1]
    assert (folder / "figures" / "channel_means.png").is_file()
    with np.load(folder / "arrays.npz") as arrays:
        assert [arrays[f"means_{number}"].shape for number in range(3)] == [(8,)] * 3


def commands(document: Path) -> list[list[str]]:
    """The words of every command of fervis that a document prints, without comments and placeholders."""
    text = document.read_text(encoding="utf-8")
    shell = [block.text for block in blocks(document) if block.language in ("sh", "console")]
    inline = list(re.findall(r"`((?:fervis|python -m fervis) [^`]+)`", FENCE.sub("", text)))
    found = []
    for line in "\n".join([*shell, *inline]).replace("\\\n", " ").splitlines():
        match = re.match(r"(?:\$ )?(?:\.venv/bin/|python -m )?fervis (.*)", line.strip())
        if match and not re.search(r"\.\.\.|<(?!fer2013)", match[1]):
            typed = match[1].split(" -- ")[0].replace("<fer2013.csv>", "fer2013.csv")
            found.append(shlex.split(typed, comments=True))
    return found


QUESTIONS = [
    pytest.param(words, id=" ".join(words)[:70])
    for document in WITH_QUESTIONS
    for words in commands(document)
    if all(word in SETTINGS or "=" in word for word in words) and not any("my_" in word for word in words)
]


@pytest.mark.parametrize("words", QUESTIONS)
def test_a_question_of_a_document_composes(words: list[str]):
    from fervis.runs.config import compose_config, expand_sweep, to_run_config

    if "hydra/launcher=ray" in words:
        pytest.importorskip("hydra_plugins.hydra_ray_launcher")
    overrides = [word for word in words if "=" in word]
    for job in expand_sweep(overrides) if "-m" in words else [overrides]:
        to_run_config(compose_config(job))


def test_every_command_that_a_document_names_exists():
    from fervis.cli.command_table import COMMANDS

    named = {
        (document.name, words[0])
        for document in WITH_QUESTIONS
        for words in commands(document)
        if words and re.fullmatch(r"[a-z][a-z-]+", words[0])
    }
    assert named
    assert {name for name in named if name[1] not in COMMANDS} == set()
