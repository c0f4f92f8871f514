"""Compose a config with Hydra: the schema, presets, resolvers, and the weights that a config means."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from fervis.core.registry import CONF_FOLDER, conf_packages, config_sources, option_settings, preset_files
from fervis.errors import ConfigError
from fervis.models.pretrained import default_weights, pretrained_names, pretrained_recipe
from fervis.runs.config.names import refused_name, run_name
from fervis.runs.config.schema import RunConfig
from fervis.runs.overrides import check_overrides, prepare_overrides


class _PluginSearchPath(SearchPathPlugin):
    """Puts the YAML files of installed plug-in packages on Hydra's search path."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for package in conf_packages():
            search_path.append(provider="fervis", path=f"pkg://{package}")
        for folder in config_sources.folders:
            search_path.append(provider="user", path=f"file://{folder}")
        for folder in config_sources.primary:
            search_path.prepend(provider="user", path=f"file://{folder}")


_stored: dict[str, tuple[Path, int, int]] = {}
"""Presets that Hydra has, with path, time and size of their files: a study of many parts composes as many configs."""


def register_configs() -> None:
    """Register the schema, the presets, other people's options and the resolvers with Hydra; safe to call twice."""
    store = ConfigStore.instance()
    store.store(name="settings", node=RunConfig)
    for name, path in preset_files().items():
        if path.parent.parent in (*config_sources.folders, *config_sources.primary):
            continue  # Hydra finds it there
        state = path.stat()
        version = path, state.st_mtime_ns, state.st_size
        if _stored.get(name) != version:
            node = OmegaConf.load(path)
            store.store(name=name, node=node, group="experiment", package="_global_", provider=str(path))
            _stored[name] = version
    Plugins.instance().register(_PluginSearchPath)
    OmegaConf.register_new_resolver("run_name", _resolve_run_name, replace=True)
    OmegaConf.register_new_resolver("for_dataset", for_dataset, replace=True)


def _resolve_run_name(*, _root_: DictConfig) -> str:
    """Resolve ``${run_name:}`` in the folders of a run and of a sweep's jobs.

    Hydra calls this before it makes the folder, so that a wrong config leaves none. In a sweep the job is to fail
    alone: it is composed and refused once more where its error is caught.
    """
    try:
        return run_name(_root_, to_run_config(_root_))
    except ConfigError:
        if _root_.hydra.mode != RunMode.MULTIRUN:
            raise
        return refused_name(_root_)


def for_dataset(choices: Mapping[str, Any], otherwise: Any, *, _root_: DictConfig) -> Any:
    """Return a preset's value for the data set: ``${for_dataset:{fer2013:[0,299]},auto}`` is ``auto`` for others."""
    chosen = choices.get(str(_root_.dataset.name), otherwise)
    return OmegaConf.create(list(chosen)) if isinstance(chosen, Sequence) and not isinstance(chosen, str) else chosen


def compose_config(overrides: Sequence[str]) -> DictConfig:
    """Compose a config from overrides, Hydra's own part included, as ``python -m fervis`` would."""
    register_configs()
    overrides = prepare_overrides(overrides)
    check_overrides(overrides, multirun=False)
    running = GlobalHydra.instance().hydra  # of the job that composes, such as a study its parts
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONF_FOLDER), version_base="1.3"):
            config = compose(config_sources.name, overrides, return_hydra_config=True)
    finally:
        GlobalHydra.instance().hydra = running
    return resolve_weights(config, config.hydra.overrides.task, config.hydra.runtime.choices.get("trainer"))


def resolve_weights(config: DictConfig, overrides: Sequence[str], trainer: str | None) -> DictConfig:
    """Return the config with ``model.weights=auto`` decided, since that decides the result.

    The weights that come with fervis for the data set and the network are taken where there are some and the overrides
    set nothing of the training or of the network's shape; else a network is trained. Where such weights are taken, the
    settings of the network and of the training are those that the weights were made with.
    """
    if not isinstance(config.model, DictConfig) or not config.model.get("weights"):
        return config
    if config.model.weights != "auto":
        return _with_recipe(config)
    typed = [override.lstrip("+~") for override in overrides]
    plain = not any(override.startswith(("trainer", "model.")) for override in typed)
    plain = plain and trainer is not None and config.trainer == option_settings("trainer", trainer)
    config = copy.deepcopy(config)
    config.model.weights = default_weights(config.model.name, config.dataset.name) if plain else None
    return _with_recipe(config)


def _with_recipe(config: DictConfig) -> DictConfig:
    """Return the config with the settings that its pretrained weights were made with, if they are known."""
    model = config.model
    if model.get("checkpoint") or model.weights not in pretrained_names(str(model.name)):
        return config
    recipe = pretrained_recipe(str(model.name), str(model.weights))
    config = copy.deepcopy(config)
    config.model.update(recipe.get("model", {}))
    if "trainer" in recipe:
        config.trainer = recipe["trainer"]
    return config


def expand_sweep(overrides: Sequence[str]) -> list[list[str]]:
    """Return the overrides of each job of a sweep, in the order of Hydra's sweeper; a preset may carry the sweep."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    parser = OverridesParser.create()
    overrides = prepare_overrides(overrides)
    fixed = [override for override in overrides if not parser.parse_override(override).is_sweep_override()]
    carried = compose_config(fixed).hydra.sweeper.get("params") or {}
    given = [*(f"{key}={values}" for key, values in carried.items()), *overrides]
    return BasicSweeper.split_arguments(parser.parse_overrides(given), None)[0]


def to_run_config(config: DictConfig) -> RunConfig:
    """Return the typed config of what Hydra composed.

    Raises:
        ConfigError: an unknown key, or a value that its key cannot have.
    """
    if "hydra" in config:
        config = resolve_weights(config, config.hydra.overrides.task, config.hydra.runtime.choices.get("trainer"))
    keys = [str(key) for key in config if key != "hydra"]
    plain = OmegaConf.to_container(OmegaConf.masked_copy(config, keys), resolve=True)
    assert isinstance(plain, dict)
    return RunConfig.from_plain({str(key): value for key, value in plain.items()})
