"""The scripts that write parts of the documentation, which belong to no package."""

from __future__ import annotations

import importlib.util
from functools import cache
from types import ModuleType

from support.command import ROOT


@cache
def docs_script(name: str) -> ModuleType:
    """Import ``docs/<name>.py``."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
