"""docs/methods.md is what the registry and the families' facts say, and every test that it names exists."""

from __future__ import annotations

import ast
from types import ModuleType

import pytest
from support.command import ROOT
from support.docs_scripts import docs_script


def builder() -> ModuleType:
    return docs_script("build_reference")


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
