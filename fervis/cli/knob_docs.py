"""The possible values of each setting of a plug-in, parsed from its source: importing it would import torch."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from fervis.core import knobs
from fervis.core.knobs import Constraint
from fervis.core.registry import KINDS, METHODS, PACKAGE_FOLDER, option_files, plugin_modules

_KNOB_MODULE = "fervis.core.knobs"


@cache
def knob_constraints(kind: str, name: str) -> dict[str, Constraint]:
    """Return the constraint of each setting of an option, by the setting's name.

    Settings without one are left out, and so are those whose constraint needs more than ``fervis.core.knobs`` and
    constants, such as the names of matplotlib's colour maps.
    """
    from fervis.cli.option_docs import read_yaml

    path = option_files(kind).get(name)
    plugin = _plugin_name(kind, read_yaml(path)) if path else name
    found: dict[str, Constraint] = {}
    for module in plugin_modules(kind, plugin):
        for node in _tree(module).body:
            if isinstance(node, ast.ClassDef) and _is_plugin(kind, node, module):
                found |= dict(_constraints_of(node, module))
    return found


def _plugin_name(kind: str, settings: dict[str, Any]) -> str:
    """Return the plug-in's name of an option, which may stand in the option that it starts from."""
    from fervis.cli.option_docs import read_yaml

    if "name" in settings:
        return str(settings["name"])
    for base in settings.get("defaults", []):
        if isinstance(base, str) and base in option_files(kind):
            return _plugin_name(kind, read_yaml(option_files(kind)[base]))
    return ""


def _is_plugin(kind: str, node: ast.ClassDef, module: Path) -> bool:
    """Whether a class is a dataclass with the method that plug-ins of a kind have, its own or inherited."""
    decorated = any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list)
    return decorated and bool(_methods(node, module) & {*METHODS[kind].split()})


def _methods(node: ast.ClassDef, module: Path) -> set[str]:
    methods = {part.name for part in node.body if isinstance(part, ast.FunctionDef)}
    for base, source in _bases(node, module):
        methods |= _methods(base, source)
    return methods


def _bases(node: ast.ClassDef, module: Path) -> Iterator[tuple[ast.ClassDef, Path]]:
    """Yield the bases of a class that fervis defines, each with its module."""
    for base in node.bases:
        defined = _definition(ast.unparse(base), module)
        if defined and isinstance(defined[0], ast.ClassDef):
            yield defined[0], defined[1]


def _constraints_of(node: ast.ClassDef, module: Path) -> Iterator[tuple[str, Constraint]]:
    """Yield the constraints of a class's fields, those of its bases first."""
    for base, source in _bases(node, module):
        yield from _constraints_of(base, source)
    for field in node.body:
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            constraint = _annotation(field.annotation, module)
            if constraint is not None:
                yield field.target.id, constraint


def _annotation(node: ast.expr, module: Path) -> Constraint | None:
    """Return the constraint of ``Annotated[type, constraint]``, or of an alias of one."""
    if isinstance(node, ast.Name):
        defined = _definition(node.id, module)
        return _annotation(defined[0], defined[1]) if defined and isinstance(defined[0], ast.expr) else None
    if not isinstance(node, ast.Subscript) or ast.unparse(node.value) != "Annotated":
        return None
    assert isinstance(node.slice, ast.Tuple)
    try:
        value = eval(compile(ast.Expression(node.slice.elts[1]), str(module), "eval"), {}, _Names(module))
    except Exception:  # it needs what only an import brings
        return None
    return value if hasattr(value, "allows") else None


class _Names(dict[str, Any]):
    """Names that an annotation of a module may use: constraints, and the module's constants."""

    def __init__(self, module: Path) -> None:
        super().__init__()
        self.module = module

    def __missing__(self, name: str) -> Any:
        if hasattr(knobs, name):
            return getattr(knobs, name)
        imported = _imported_module(name, self.module)
        if imported is not None:
            return _ModuleNames(imported)
        defined = _definition(name, self.module)
        if defined is None or not isinstance(defined[0], ast.expr):
            raise KeyError(name)
        node = defined[0]
        if isinstance(node, ast.Dict):  # of which a constraint lists the keys
            return {key.value: None for key in node.keys if isinstance(key, ast.Constant)}
        return eval(compile(ast.Expression(node), str(defined[1]), "eval"), {}, _Names(defined[1]))


class _ModuleNames:
    """Constants of a module that another has imported as a whole."""

    def __init__(self, module: Path) -> None:
        self._names = _Names(module)

    def __getattr__(self, name: str) -> Any:
        return self._names[name]


def _imported_module(name: str, module: Path) -> Path | None:
    """Return the file of a module of fervis that a module has imported under a name."""
    for node in _tree(module).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fervis."):
            for imported in node.names:
                source = PACKAGE_FOLDER.joinpath(*str(node.module).split(".")[1:], f"{imported.name}.py")
                if (imported.asname or imported.name) == name and source.is_file():
                    return source
    return None


def _definition(name: str, module: Path) -> tuple[ast.expr | ast.ClassDef, Path] | None:
    """Return what defines a top-level name, in the module itself or in the module of fervis that it comes from."""
    for node in _tree(module).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return node, module
        if isinstance(node, ast.Assign) and any(isinstance(one, ast.Name) and one.id == name for one in node.targets):
            return node.value, module
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == name and node.value is not None:
            return node.value, module
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("fervis."):
            for imported in node.names:
                if (imported.asname or imported.name) == name and node.module != _KNOB_MODULE:
                    source = PACKAGE_FOLDER.joinpath(*node.module.split(".")[1:]).with_suffix(".py")
                    return _definition(imported.name, source) if source.is_file() else None
    return None


@cache
def _tree(module: Path) -> ast.Module:
    return ast.parse(module.read_text(encoding="utf-8"))


def describe_constraint(kind: str, name: str, setting: str) -> str:
    """Return what a setting may be, as it follows ``expected``; empty where nothing is stated."""
    constraint = knob_constraints(kind, name).get(setting) if kind in KINDS else None
    return "" if constraint is None else str(constraint)
