"""The import rules of the house: one direction, nothing heavy before it is asked for."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fervis.registry import KINDS

PACKAGE = Path(__file__).resolve().parent.parent / "fervis"
FILES = {str(path.relative_to(PACKAGE)): path for path in PACKAGE.rglob("*.py")}
PLUGINS = [name for name in FILES if name.split("/")[0] in KINDS.values() and not name.endswith("__init__.py")]
# What a plug-in and the machinery under it may import of fervis.
OPEN_TO_PLUGINS = r"fervis\.(engines|layers|faces|network|results|errors|atomic|contracts)(\.|$)"
OWNERS = {
    "wandb": r"(trackers/wandb|wandb_sync|wandb_report)\.py",
    "lime": r"explainers/lime.*\.py",
    "timm": r"models/timm\.py",
    "accelerate": r"engines/parallel\.py",
    "filelock": r"locks\.py",
}
HYDRA = {"question.py", "asking.py", "commands.py", "hints.py"}


def imported(path: Path) -> set[str]:
    """Full names of all modules a file imports, at its top or inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: imports are absolute"
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names if node.module == "fervis"}
    return found


@pytest.mark.parametrize("name", [*PLUGINS, *(name for name in FILES if name.startswith("engines/"))])
def test_plugins_and_engines_import_only_what_is_below_them(name: str):
    for module in imported(FILES[name]):
        if module.startswith("fervis"):
            assert module == "fervis" or re.match(OPEN_TO_PLUGINS, module), f"{name} imports {module}"
        assert module.split(".")[0] not in ("hydra",), f"{name} imports {module}"


@pytest.mark.parametrize("name", list(FILES))
def test_each_heavy_library_has_one_owner(name: str):
    for module in imported(FILES[name]):
        library = module.split(".")[0]
        if library in OWNERS:
            assert re.fullmatch(OWNERS[library], name), f"{name} imports {library}"
        if library == "hydra":
            assert name in HYDRA, f"{name} imports hydra"


@pytest.mark.parametrize("name", list(FILES))
def test_nothing_is_instantiated_or_unpickled(name: str):
    text = FILES[name].read_text(encoding="utf-8")
    assert not re.search(r"\binstantiate\(|pickle\.loads?\b|Unpickler\b|allow_pickle=True|weights_only=False", text)


@pytest.mark.parametrize("arguments", [["--help"], ["--cfg", "job"], ["list"], ["explainer=salency"]])
def test_the_command_answers_without_torch(arguments: list[str]):
    code = (
        "import sys; sys.argv = ['fervis', *sys.argv[1:]]\n"
        "from fervis.commands import run\n"
        "try: run(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'matplotlib', 'wandb', 'timm', 'lime', 'sklearn'} & set(sys.modules)\n"
        "print('heavy:', sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "heavy: []", done.stdout[-500:] + done.stderr
