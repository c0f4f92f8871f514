"""docs/methods.md is what the registry and the families' facts say, and every test that it names exists."""

from __future__ import annotations

import ast
import importlib.util
from functools import cache
from types import ModuleType

import pytest
from support.command import ROOT


@cache
def builder() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_reference", ROOT / "docs" / "build_reference.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_method_has_its_facts_and_no_other():
    facts = builder().facts()
    assert {*facts} == {*builder().build_methods.explainer_names()}
    assert {name for name, entry in facts.items() if {*entry} != builder().KEYS} == set()


@pytest.mark.parametrize("name", sorted(builder().facts()))
def test_the_tests_that_are_named_exist(name: str):
    for test in builder().tests_of(builder().facts()[name]):
        path, _, function = test.partition("::")
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        defined = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert not function or function.partition("[")[0].split("::")[-1] in defined, test


def test_the_page_is_up_to_date():
    written = builder().PAGE.read_text(encoding="utf-8")
    assert written == builder().page(), "python docs/build_reference.py writes it"
