"""The typed config of a run: the schema that Hydra composes into, and what every value must be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from fervis.core.registry import KINDS, option_files, option_settings
from fervis.errors import ConfigError, nearest_name, unknown_name
from fervis.runs.config.shards import parse_shard

# What a machine or a reader chooses without changing the result.
EXCLUDED_FROM_KEY = ("hydra", "shard", "device", "threads", "tracker", "rerun", "quiet", "outputs", "value")
_SPLITS = ("train", "val", "test", "all")
_PRECISIONS = ("auto", "bf16", "fp32")
_SEED_BITS = 63


@dataclass
class RunConfig:
    """All settings of a run. ``conf/config.yaml`` documents each key."""

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
    against: Any = None
    checkpoint: Any = "best"
    seed: int = 0
    shard: Any = None
    device: str = "auto"
    precision: str = "auto"
    threads: Any = "auto"
    rerun: bool = False
    quiet: bool = False
    outputs: str = "outputs"
    value: str | None = None
    parts: list[Any] = field(default_factory=list)

    @property
    def cache(self) -> Path:
        """The folder of parsed data and content hashes."""
        return Path(self.outputs) / "cache"

    @property
    def checkpoints(self) -> list[Any]:
        """The checkpoints that are explained, one or several."""
        return list(self.checkpoint) if isinstance(self.checkpoint, list | tuple) else [self.checkpoint]

    @property
    def code_source(self) -> str | None:
        """The user's own Python file or module that the config runs, if it does."""
        return next((self.model[key] for key in ("path", "module") if self.model.get(key)), None)

    @classmethod
    def from_plain(cls, settings: Mapping[str, Any]) -> RunConfig:
        """Build a config from plain data, every value checked.

        Raises:
            ConfigError: an unknown key, or a value that its key cannot have.
        """
        known = [f.name for f in fields(cls)]
        for key in settings:
            if key not in known:
                raise ConfigError(
                    f"{key}: there is no such key.{nearest_name(str(key), known)} Known: {', '.join(known)}."
                )
        config = cls(**{str(key): value for key, value in settings.items()})
        if config.layer is not None:
            config.layer = _layer_names(config.layer)
        _check(config)
        if config.against is not None and not config.parts:  # of a study, its parts take it
            config.explainer, config.against = _contrasted(config.explainer, config.against), None
        return config

    def plain(self) -> dict[str, Any]:
        """Return the config as plain data, as ``config.yaml`` states it; ``against`` is a setting of the explainer."""
        return {key: value for key, value in asdict(self).items() if key != "against"}


def _contrasted(explainer: dict[str, Any], against: Any) -> dict[str, Any]:
    """Return the explainer's settings with the classes of ``against=``, which is short for ``explainer.against=``."""
    if "against" not in explainer:
        able = [name for name in option_files("explainer") if "against" in option_settings("explainer", name)]
        shown = f"[{','.join(map(str, against))}]" if isinstance(against, list) else against
        raise ConfigError(
            f"against={shown}: explainer={explainer['name']} contrasts its target with no other class; expected "
            f"explainer={' or '.join(able)}."
        )
    return {**explainer, "against": against}


def _layer_names(spec: Any) -> str | list[str]:
    """``layer=`` as text: children of an ``nn.Sequential`` have numbers for names."""
    several = isinstance(spec, list | tuple)
    names = [_layer_name(value, spec) for value in (spec if several else [spec])]
    if not names or len(set(names)) < len(names):
        raise _wrong("layer", spec, "a layer's name, or a list of different ones")
    return names if several else names[0]


def _layer_name(value: Any, spec: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
        raise _wrong("layer", spec, "a layer's name, or a list of different ones")
    return str(value)


def _check(config: RunConfig) -> None:
    """Raise ConfigError for the first value that its key cannot have."""
    for kind in KINDS:
        settings = getattr(config, kind)
        if kind == "evidence":
            settings = {} if settings is None else settings
            if not isinstance(settings, Mapping) or not all(isinstance(one, Mapping) for one in settings.values()):
                raise _wrong(kind, settings, f"a list of {', '.join(option_files(kind))}")
        else:
            _check_plugin(kind, settings)
    if config.split not in _SPLITS:
        raise unknown_name("split", config.split, _SPLITS)
    if config.precision not in _PRECISIONS:
        raise unknown_name("precision", config.precision, _PRECISIONS)
    if not _is_whole(config.seed, least=-(2**_SEED_BITS)) or config.seed >= 2**_SEED_BITS:
        raise _wrong("seed", config.seed, "a whole number")
    for key in ("rerun", "quiet"):
        if not isinstance(getattr(config, key), bool):
            raise _wrong(key, getattr(config, key), "true or false")
    for key, expected in {"outputs": "a folder", "device": "auto or a device such as cpu or cuda:1"}.items():
        if not isinstance(getattr(config, key), str) or not getattr(config, key).strip():
            raise _wrong(key, getattr(config, key), expected)
    if config.value is not None and not (isinstance(config.value, str) and config.value.strip()):
        raise _wrong("value", config.value, "the name of a number of the answer, such as deletion")
    if config.threads != "auto" and not _is_whole(config.threads, least=1):
        raise _wrong("threads", config.threads, "auto or a whole number of at least 1")
    parse_shard(config.shard)
    _check_faces(config.faces)
    _check_target(config.target)
    _check_checkpoints(config)
    if not isinstance(config.parts, list) or not all(isinstance(part, Mapping) for part in config.parts):
        raise _wrong("parts", config.parts, "a list of parts, each with title, ask and figures, or title, draw and dpi")


def _check_plugin(kind: str, settings: Any) -> None:
    name = settings.get("name") if isinstance(settings, Mapping) else settings
    if not isinstance(name, str) or not name:
        given = "null" if not settings or name is None else name
        raise ConfigError(f"{kind}={given}: expected one of {', '.join(option_files(kind))}.")


def _check_faces(spec: Any) -> None:
    form = "row numbers such as [0,299,5], per_class:<n>, all or auto"
    if isinstance(spec, Mapping):
        spec = f"per_class:{spec.get('per_class')}" if list(spec) == ["per_class"] else ""
    if isinstance(spec, str):
        word, _, count = spec.partition(":")
        counted = word == "per_class" and count.strip().isdecimal() and int(count) > 0
        if spec not in ("auto", "all") and not counted:
            raise _wrong("faces", spec, form)
    elif not (isinstance(spec, list) and spec and all(map(_is_whole, spec))) and not _is_whole(spec):
        raise _wrong("faces", spec, form)


def _check_target(spec: Any) -> None:
    form = "label, predicted, a class, all, or <layer>/<filter> such as conv7/4"
    if not _is_whole(spec) and not (isinstance(spec, str) and spec.strip()):
        raise _wrong("target", spec, form)
    layer, slash, number = str(spec).rpartition("/")
    if slash and layer in ("", "input") and number.isdecimal():
        raise ConfigError(f"target={spec}: filters are those of a layer of the network, expected such as conv7/4.")


def _check_checkpoints(config: RunConfig) -> None:
    form = "best, last, initial, an epoch's number, a file of weights, or a list of different ones"
    specs = config.checkpoints
    if not specs or not all(_is_whole(spec) or (isinstance(spec, str) and spec.strip()) for spec in specs):
        raise _wrong("checkpoint", config.checkpoint, form)
    epochs = config.trainer.get("epochs")
    for spec in specs if trains(config) and isinstance(epochs, int) else []:
        if str(spec).isdecimal() and not 1 <= int(spec) <= int(epochs or 0):
            raise ConfigError(f"checkpoint={spec}: expected an epoch from 1 to {epochs} (trainer.epochs).")


def trains(config: RunConfig) -> bool:
    """Return whether any checkpoint of a config comes from a training of the run."""
    given = config.model.get("checkpoint") or config.model.get("weights") not in (None, "auto")
    return not given and any(spec in ("best", "last") or str(spec).isdecimal() for spec in config.checkpoints)


def _is_whole(value: Any, least: int = 0) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _wrong(key: str, value: Any, expected: str) -> ConfigError:
    listed = isinstance(value, Sequence) and not isinstance(value, str)
    shown = f"[{','.join(map(str, value))}]" if listed else "null" if value is None else value
    return ConfigError(f"{key}={shown}: expected {expected}.")
