"""Composing a config: presets are parsed once, and again when their files change."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from fervis.core import registry
from fervis.runs.config.compose import compose_config


def test_a_preset_is_parsed_once_until_its_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(registry, "EXPERIMENTS_FOLDER", tmp_path)
    (tmp_path / "mine.yaml").write_text("# a preset\nseed: 3\n")
    assert compose_config(["experiment=mine"]).seed == 3
    parsed: list[object] = []
    load = OmegaConf.load

    def counted(source: object) -> object:
        if source == tmp_path / "mine.yaml":
            parsed.append(source)
        return load(source)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(OmegaConf, "load", counted)
    assert compose_config(["experiment=mine"]).seed == 3
    assert not parsed
    (tmp_path / "mine.yaml").write_text("# a preset\nseed: 1234\n")
    assert compose_config(["experiment=mine"]).seed == 1234
    assert len(parsed) == 1
