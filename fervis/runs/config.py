"""The typed shape of a question, and all that fervis asks of Hydra: composing, naming, presets, what was mistyped."""

from __future__ import annotations

import copy
import hashlib
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf

from fervis.core.registry import CONF_FOLDER, conf_packages, option_settings, preset_files
from fervis.models.pretrained import default_weights


@dataclass
class RunConfig:
    """Everything that can be asked. ``conf/config.yaml`` says what each key means."""

    dataset: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    trainer: dict[str, Any] = field(default_factory=dict)
    explainer: dict[str, Any] = field(default_factory=dict)
    visualizer: dict[str, Any] = field(default_factory=dict)
    tracker: dict[str, Any] = field(default_factory=dict)
    evidence: dict[str, Any] = field(default_factory=dict)
    split: str = "test"
    faces: Any = "auto"
    layer: Any = None
    target: Any = "auto"
    checkpoint: Any = "best"
    seed: int = 0
    shard: Any = None
    device: str = "auto"
    precision: str = "auto"
    threads: Any = "auto"
    rerun: bool = False
    quiet: bool = False
    outputs: str = "outputs"
    parts: list[Any] = field(default_factory=list)

    @property
    def cache(self) -> Path:
        """The folder of parsed data and content hashes."""
        return Path(self.outputs) / "cache"


# What a machine or a reader chooses without changing the answer.
EXCLUDED_FROM_KEY = ("hydra", "shard", "device", "threads", "tracker", "rerun", "quiet", "outputs")


class _PluginSearchPath(SearchPathPlugin):
    """Puts the YAML files of installed plug-in packages on Hydra's search path."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for package in conf_packages():
            search_path.append(provider="fervis", path=f"pkg://{package}")


def register_configs() -> None:
    """Tell Hydra the schema, the presets, other people's options and how runs are named. Safe to call twice."""
    store = ConfigStore.instance()
    store.store(name="settings", node=RunConfig)
    for name, path in preset_files().items():
        store.store(name=name, node=OmegaConf.load(path), group="experiment", package="_global_", provider=str(path))
    Plugins.instance().register(_PluginSearchPath)
    OmegaConf.register_new_resolver("run_name", lambda *, _root_: run_name(_root_), replace=True)
    OmegaConf.register_new_resolver("for_dataset", for_dataset, replace=True)


def for_dataset(choices: Mapping[str, Any], otherwise: Any, *, _root_: DictConfig) -> Any:
    """What a preset states for one data set: ``${for_dataset:{fer2013:[0,299]},auto}``, and for all others."""
    chosen = choices.get(str(_root_.dataset.name), otherwise)
    return OmegaConf.create(list(chosen)) if isinstance(chosen, Sequence) and not isinstance(chosen, str) else chosen


def compose_config(overrides: Sequence[str]) -> DictConfig:
    """Compose a question from overrides, Hydra's own part included, as ``python -m fervis`` would."""
    register_configs()
    running = GlobalHydra.instance().hydra  # of the job that asks, where a study asks its parts
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONF_FOLDER), version_base="1.3"):
            config = compose("config", list(overrides), return_hydra_config=True)
    finally:
        GlobalHydra.instance().hydra = running
    return resolve_weights(config, config.hydra.overrides.task, config.hydra.runtime.choices.trainer)


def resolve_weights(config: DictConfig, overrides: Sequence[str], trainer: str) -> DictConfig:
    """The config with ``model.weights=auto`` decided, since that decides the answer.

    The weights that fervis ships for the data set and the network are taken where there are some and the question says
    nothing of the training or of the network's shape; else a network is trained.
    """
    if config.model.get("weights") != "auto":
        return config
    told = [override.lstrip("+~") for override in overrides]
    plain = not any(override.startswith(("trainer", "model.")) for override in told)
    plain = plain and config.trainer == option_settings("trainer", trainer)
    config = copy.deepcopy(config)
    config.model.weights = default_weights(config.model.name, config.dataset.name) if plain else None
    return config


def expand_sweep(overrides: Sequence[str]) -> list[list[str]]:
    """The overrides of each job of a sweep, in the order of Hydra's own sweeper; a preset may carry the sweep."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    parser = OverridesParser.create()
    fixed = [override for override in overrides if not parser.parse_override(override).is_sweep_override()]
    carried = compose_config(fixed).hydra.sweeper.get("params") or {}
    told = [*(f"{key}={values}" for key, values in carried.items()), *overrides]
    return BasicSweeper.split_arguments(parser.parse_overrides(told), None)[0]


def to_run_config(config: DictConfig) -> RunConfig:
    """The typed question of a settled config."""
    asked = OmegaConf.to_container(OmegaConf.masked_copy(config, list(RunConfig.__dataclass_fields__)), resolve=True)
    assert isinstance(asked, dict)
    return RunConfig(**{str(key): value for key, value in asked.items()})


def run_id(config: DictConfig) -> str:
    """Eight hex digits over everything that changes the answer."""
    keys = [str(key) for key in config if key not in EXCLUDED_FROM_KEY]
    asked = OmegaConf.to_container(OmegaConf.masked_copy(config, keys), resolve=True)
    return hashlib.sha256(json.dumps(asked, sort_keys=True, default=str).encode()).hexdigest()[:8]


def run_name(config: DictConfig) -> str:
    """``vgg8-saliency-conv7-1f0c2a9b``: readable, and equal for equal questions only."""
    choices = config.hydra.runtime.choices
    config = resolve_weights(config, config.hydra.overrides.task, choices.trainer)
    model, explainer = (choices.get(kind, config[kind].get("name")) for kind in ("model", "explainer"))
    words = [model, str(choices.get("experiment")) if config.parts else explainer]
    if config.layer is not None:
        layers = [config.layer] if isinstance(config.layer, str) else list(config.layer)
        words.append("+".join(str(layer) for layer in layers))
    return f"{_slug('-'.join(str(word) for word in words))}-{run_id(config)}"


def _slug(words: str) -> str:
    """Words as a folder's name on any file system."""
    return re.sub(r"[^\w.+-]+", "_", words)[:80]


def sweep_name(overrides: Sequence[str]) -> str:
    """``layer-explainer-5e0c77d1``: what is swept, and equal for the same command, so that it goes on where it was."""
    # Asked again, quietly, on another device or by another launcher, it is the same sweep.
    apart = {*EXCLUDED_FROM_KEY, "hydra/launcher"} - {"shard"}
    beneath = ("hydra.launcher.", "tracker.")
    keys = {override: override.partition("=")[0].lstrip("+~") for override in overrides}
    overrides = [one for one in overrides if keys[one] not in apart and not keys[one].startswith(beneath)]
    values = {key: value for key, _, value in (override.partition("=") for override in overrides)}
    preset = preset_files().get(values.get("experiment", ""))
    told = [sorted(overrides), preset.read_text(encoding="utf-8") if preset else ""]
    digest = hashlib.sha256(json.dumps(told).encode()).hexdigest()[:8]
    swept = [override.partition("=")[0] for override in overrides if _is_sweep(override)]
    return f"{_slug('-'.join(swept) or values.get('experiment') or 'sweep')}-{digest}"


def _is_sweep(override: str) -> bool:
    """Whether an override stands for several values; one that cannot be read is told of where it is composed."""
    try:
        return OverridesParser.create().parse_override(override).is_sweep_override() or override == "layer=each"
    except HydraException:
        return False


def command_line(overrides: Sequence[str]) -> str:
    """The command that asks with these overrides, quoted for a shell."""
    return shlex.join(["python", "-m", "fervis", *overrides])


def run_folder(config: DictConfig) -> Path:
    """Where the answer to a composed question is kept."""
    return Path(config.hydra.run.dir)
