"""Architecture rules that import-linter cannot hold: sizes, names, and nothing heavy imported before it is needed."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "fervis"
FILES = {str(path.relative_to(PACKAGE)): path for path in sorted(PACKAGE.rglob("*.py"))}
PACKAGES = {
    *("core", "system", "datasets", "models", "trackers", "metrics", "trainers"),
    *("explainers", "evidence", "visualizers", "reporting", "runs", "cli"),
}


@pytest.mark.parametrize("name", list(FILES))
def test_nothing_is_instantiated_or_unpickled(name: str):
    text = FILES[name].read_text(encoding="utf-8")
    assert not re.search(r"\binstantiate\(|pickle\.loads?\b|Unpickler\b|allow_pickle=True|weights_only=False", text)


@pytest.mark.parametrize("arguments", [["--help"], ["--cfg", "job"], ["list"], ["explainer=salency"]])
def test_the_command_answers_without_torch(arguments: list[str]):
    code = (
        "import sys; sys.argv = ['fervis', *sys.argv[1:]]\n"
        "from fervis.cli.main import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'matplotlib', 'wandb', 'timm', 'lime', 'sklearn', 'jinja2'} & set(sys.modules)\n"
        "print('heavy:', sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "heavy: []", done.stdout[-500:] + done.stderr


def test_the_tree_holds_the_packages_of_the_design_and_few_files():
    assert {path.name for path in PACKAGE.iterdir() if path.is_dir() and (path / "__init__.py").is_file()} == PACKAGES
    assert len([path for path in PACKAGE.iterdir() if path.is_file()]) <= 5
    assert not {"engines", "utils", "helpers", "common"} & {Path(name).parent.name for name in FILES}


@pytest.mark.parametrize("package", ["explainers", "evidence"])
def test_every_family_stands_in_the_guides_table_and_in_the_import_contract(package: str):
    families = {path.parent.name for path in (PACKAGE / package).glob("*/__init__.py")}
    guide = (PACKAGE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (row,) = (line for line in guide.splitlines() if re.match(rf"\| \d \| `{package}` ", line))
    assert set(re.findall(r"`(\w+)`", row)) == {package, *families}
    contracts = (PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8")
    assert set(re.findall(rf'"fervis\.{package}\.(\w+)"', contracts)) == families


def test_folders_and_modules_stay_small():
    folders = defaultdict(list)
    for name in FILES:
        folders[str(Path(name).parent)].append(name)
    assert {folder: len(names) for folder, names in folders.items() if len(names) > 20} == {}
    lines = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in FILES.items()}
    assert {name: count for name, count in lines.items() if count > 300} == {}


def test_no_top_level_name_is_defined_in_two_modules():
    defined = defaultdict(set)
    for name, path in FILES.items():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            for one in _names(node):
                defined[one].add(name)
    allowed = {"main", "__getattr__", "__dir__", "__all__"}  # what Python or a console script asks for
    assert {one: sorted(names) for one, names in defined.items() if len(names) > 1 and one not in allowed} == {}


def _names(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
        return [node.name]
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    return [node.target.id] if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) else []
