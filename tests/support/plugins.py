"""Plug-ins of other packages, registered for one test."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from fervis.core import registry


def install_plugin(monkeypatch: Any, folder: Path, kind: str, name: str, cls: type, yaml: str) -> None:
    """Register a class under a name, with the text of its YAML file, as an installed package would."""
    (folder / kind).mkdir()
    (folder / kind / f"{name}.yaml").write_text(yaml)
    point = SimpleNamespace(name=name, load=lambda: cls)
    monkeypatch.setattr(registry.config_sources, "folders", (folder,))
    monkeypatch.setattr(registry, "_foreign", lambda other: (point,) if other == kind else ())
