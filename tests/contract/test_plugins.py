"""What every plug-in must be, whoever wrote it: the tests run over all names that the registry finds."""

from __future__ import annotations

import inspect
from dataclasses import fields, is_dataclass

import pytest
import yaml
from omegaconf import OmegaConf

from fervis.core.registry import (
    KINDS,
    build_plugin,
    names,
    option_files,
    option_settings,
    option_summary,
    plugin_class,
    plugin_names,
    preset_files,
)

OPTIONS = [(kind, name) for kind in KINDS for name in names(kind) if "name" in option_settings(kind, name)]
LISTS = [(kind, name) for kind in KINDS for name in names(kind) if "name" not in option_settings(kind, name)]
PLUGINS = [(kind, name) for kind in KINDS for name in plugin_names(kind)]


@pytest.mark.parametrize(("kind", "name"), PLUGINS)
def test_plugin_is_a_described_dataclass_with_an_option_of_its_name(kind: str, name: str):
    cls = plugin_class(kind, name)
    assert is_dataclass(cls)
    assert inspect.getdoc(cls)
    assert inspect.getdoc(inspect.getmodule(cls))
    assert option_settings(kind, name).name == name


@pytest.mark.parametrize(("kind", "name"), OPTIONS)
def test_option_says_what_it_is_and_states_every_knob(kind: str, name: str):
    config = option_settings(kind, name)
    assert option_summary(option_files(kind)[name]), "the first comment of the YAML says what the option is"
    knobs = {field.name for field in fields(plugin_class(kind, config.name))}
    assert set(config) == {"name", *knobs}


@pytest.mark.parametrize(("kind", "name"), OPTIONS)
def test_option_builds_and_remembers_what_it_was_told(kind: str, name: str):
    config = OmegaConf.to_container(option_settings(kind, name))
    assert isinstance(config, dict)
    plugin = build_plugin(kind, config)
    assert isinstance(plugin, plugin_class(kind, config["name"]))
    for key, value in config.items():
        if key != "name":
            assert getattr(plugin, key) == value


def test_only_measures_of_evidence_are_chosen_by_a_list_of_others():
    assert LISTS == [("evidence", "default"), ("evidence", "thorough")]
    listed = {}
    for _, name in LISTS:
        assert option_summary(option_files("evidence")[name])
        listed[name] = set(yaml.safe_load(option_files("evidence")[name].read_text(encoding="utf-8"))["defaults"])
    anywhere = {name for name in plugin_names("evidence") if plugin_class("evidence", name).needs <= {"explain_again"}}
    on_grids = {"grid_pointing_game", "disconnected_grid"}  # of networks alone that end in one global average
    assert listed["thorough"] == anywhere - on_grids
    plugins = {option_settings("evidence", name).name for name in listed["default"]}
    assert plugins <= anywhere


@pytest.mark.parametrize("name", names("explainer"))
def test_every_explainer_has_a_visualizer_of_its_kind(name: str):
    kind = plugin_class("explainer", option_settings("explainer", name).name).result.kind
    assert kind in {plugin_class("visualizer", other).kind for other in plugin_names("visualizer")}


@pytest.mark.parametrize("name", list(preset_files()))
def test_every_preset_composes(name: str):
    from fervis.runs.config import compose_config, to_run_config

    assert option_summary(preset_files()[name]), "a preset begins with its question"
    question = to_run_config(compose_config([f"experiment={name}"]))
    for kind in KINDS:
        chosen = getattr(question, kind)
        for config in chosen.values() if kind == "evidence" else [chosen]:
            build_plugin(kind, config)
