"""Registry of plug-ins: located by file name, imported on demand, built and type-checked by their dataclasses."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, is_dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fervis.core.knobs import check_knobs
from fervis.errors import ConfigError, nearest_name, unknown_name

if TYPE_CHECKING:
    from omegaconf import DictConfig

KINDS = {
    "dataset": "datasets",
    "model": "models",
    "trainer": "trainers",
    "explainer": "explainers",
    "visualizer": "visualizers",
    "tracker": "trackers",
    "evidence": "evidence",
}

METHODS = {
    "dataset": "load",
    "model": "build",
    "trainer": "train",
    "explainer": "explain",
    "visualizer": "draw",
    "tracker": "start",
    "evidence": "measure",
}
"""The method by which the plug-in of a module is recognized."""
RENAMED = {("dataset", "faces"): "synthetic"}
"""Names of earlier releases, which stand in users' configs and run folders."""
_PLUGIN_NAME = re.compile(r"^name: *([\w-]+)", re.MULTILINE)

PACKAGE_FOLDER = Path(__file__).resolve().parents[1]
IS_CHECKOUT = (PACKAGE_FOLDER.parent / "conf").is_dir() and (PACKAGE_FOLDER.parent / "pyproject.toml").is_file()
CONF_FOLDER = PACKAGE_FOLDER.parent / "conf" if IS_CHECKOUT else PACKAGE_FOLDER / "_conf"
EXPERIMENTS_FOLDER = PACKAGE_FOLDER.parent / "experiments" if IS_CHECKOUT else PACKAGE_FOLDER / "_experiments"


@cache
def conf_packages() -> tuple[str, ...]:
    """Return packages of other people that carry YAML files for their plug-ins (entry points ``fervis.conf``)."""
    return tuple(sorted(point.value for point in entry_points(group="fervis.conf")))


@dataclass
class ConfigSources:
    """Sources of configs other than fervis's own: the user's folders and the name of the primary config.

    Attributes:
        folders: of ``--config-dir``, searched last.
        primary: of ``--config-path``, searched first.
        name: of ``--config-name``.
    """

    folders: tuple[Path, ...] = ()
    primary: tuple[Path, ...] = ()
    name: str = "config"


config_sources = ConfigSources()
"""Those of this process; the command line sets them before anything is composed."""


def conf_folders() -> Iterator[Path]:
    """Folders that hold ``<kind>/<option>.yaml``: fervis's own, those of installed packages, the user's."""
    yield CONF_FOLDER
    for package in conf_packages():
        yield Path(str(files(package)))
    yield from (*config_sources.folders, *config_sources.primary)


def option_files(kind: str) -> dict[str, Path]:
    """Return every option of a kind, by name, with its YAML file."""
    options = {path.stem: path for folder in conf_folders() for path in (folder / kind).glob("*.yaml")}
    return dict(sorted(options.items()))


def names(kind: str) -> list[str]:
    """Return the names of a kind's options, such as ``explainer``, or of the presets (``experiment``).

    Raises:
        ConfigError: there is no such kind.
    """
    if kind not in (*KINDS, "experiment"):
        raise unknown_name("kind", kind, (*KINDS, "experiment"))
    return list(preset_files() if kind == "experiment" else option_files(kind))


def preset_files() -> dict[str, Path]:
    """Every preset question of ``experiments/`` and of the user's folders, by name."""
    folders = [EXPERIMENTS_FOLDER, *(folder / "experiment" for folder in conf_folders())]
    return {path.stem: path for folder in folders for path in sorted(folder.glob("*.yaml"))}


def option_summary(path: Path) -> str:
    """Return the first comment of a YAML file, which describes the option."""
    with path.open(encoding="utf-8") as lines:
        first = next((line for line in lines if line.startswith("#") and "@package" not in line), "")
    return first.lstrip("# ").strip()


def option_settings(kind: str, name: str) -> DictConfig:
    """Return the settings of an option as its YAML states them, those of the options it starts from included."""
    from omegaconf import DictConfig, OmegaConf  # here, since completion must list names fast

    known = option_files(kind)
    if name not in known:
        raise unknown_name(kind, name, known)
    own = OmegaConf.load(known[name])
    assert isinstance(own, DictConfig)
    bases = [base for base in own.pop("defaults", []) if isinstance(base, str) and base != "_self_"]
    if kind == "evidence":  # an option that lists others chooses each of them, under its own name
        return own
    merged = OmegaConf.merge(*(option_settings(kind, base) for base in bases), own)
    assert isinstance(merged, DictConfig)
    return merged


def build_plugin(kind: str, config: Mapping[str, Any] | str, **changes: Any) -> Any:
    """Build a plug-in from its settings, or from an option's name and the settings to change.

    Raises:
        ConfigError: an unknown name or setting, a value of the wrong type, or one the plug-in refuses.

    Example:
        >>> build_plugin("tracker", "none")
        NoTracker()
    """
    given: Mapping[Any, Any] = {**option_settings(kind, config), **changes} if isinstance(config, str) else config
    knobs = {str(key): value for key, value in given.items()}
    name = str(knobs.pop("name"))
    key = f"{kind}.{name}" if kind == "evidence" else kind  # several measures may be chosen, each under its name
    return build_from_class(key, plugin_class(kind, name), knobs)


def build_from_class(key: str, cls: type, knobs: Mapping[str, Any]) -> Any:
    """Build a plug-in from its class and settings, checked as those of a config.

    Args:
        key: where the settings stand, as messages say it: ``explainer``.
        cls: the dataclass.
        knobs: settings; the others have their defaults.

    Raises:
        ConfigError: an unknown setting, a value of the wrong type, or one the plug-in refuses.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    schema = OmegaConf.structured(cls)
    try:
        plugin = OmegaConf.to_object(OmegaConf.merge(schema, dict(knobs)))
    except OmegaConfBaseException as error:
        raise _wrong_setting(key, knobs, schema, error) from error
    check_knobs(key, plugin)
    return plugin


def _wrong_setting(owner: str, knobs: Mapping[str, Any], schema: DictConfig, error: Exception) -> ConfigError:
    key = str(getattr(error, "full_key", "") or "")
    field = key.partition(".")[0].partition("[")[0]
    if field not in schema:
        known = ", ".join(str(name) for name in schema) or "none"
        return ConfigError(f"{owner}.{key}: there is no such setting.{nearest_name(field, schema)} Known: {known}.")
    return ConfigError(f"{owner}.{key}={knobs.get(field)}: {str(error).splitlines()[0]}.")


def plugin_class(kind: str, name: str) -> type:
    """Return the dataclass behind a plug-in's name: of fervis's own module, or of another package's entry point.

    A module of fervis is a plug-in if it is anywhere below its kind's package, is named as the plug-in, and defines
    one dataclass with the method that its kind requires, such as ``explain``.

    Raises:
        ConfigError: there is no such plug-in.
    """
    name = RENAMED.get((kind, name), name)
    points = {point.name: point for point in _foreign(kind)}
    for path in _own_files(kind).get(name, ()):
        module = importlib.import_module(".".join(("fervis", *path.relative_to(PACKAGE_FOLDER).with_suffix("").parts)))
        for value in vars(module).values():
            if isinstance(value, type) and value.__module__ == module.__name__ and is_plugin(kind, value):
                return value
    if name not in points:
        raise unknown_name(kind, name, plugin_names(kind))
    return points[name].load()


def is_plugin(kind: str, plugin: type) -> bool:
    """Whether a class is a dataclass with the method that plug-ins of a kind have."""
    return is_dataclass(plugin) and callable(getattr(plugin, METHODS[kind], None))


def plugin_names(kind: str) -> list[str]:
    """Return the names of every plug-in of a kind, fervis's own and those installed by others."""
    named = {
        found[1] for path in option_files(kind).values() if (found := _PLUGIN_NAME.search(path.read_text("utf-8")))
    }
    own = {RENAMED.get((kind, name), name) for name in named} & set(_own_files(kind))
    return sorted(own | {point.name for point in _foreign(kind)})


def _own_files(kind: str) -> dict[str, list[Path]]:
    """Every module below the package of a kind, by its name."""
    modules: dict[str, list[Path]] = {}
    for path in sorted((PACKAGE_FOLDER / KINDS[kind]).rglob("*.py")):
        modules.setdefault(path.stem, []).append(path)
    return modules


def plugin_modules(kind: str, name: str) -> list[Path]:
    """Return the files of fervis's own modules that are named as a plug-in; none for other people's plug-ins."""
    return _own_files(kind).get(RENAMED.get((kind, name), name), [])


def foreign_plugin(kind: str, name: str) -> EntryPoint:
    """Return the entry point of another package's plug-in.

    Raises:
        ConfigError: there is no such plug-in.
    """
    points = {point.name: point for point in _foreign(kind)}
    if name not in points:
        raise unknown_name(kind, name, plugin_names(kind))
    return points[name]


def _foreign(kind: str) -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=f"fervis.{KINDS[kind]}"))


def visualizer_for(result_kind: str) -> str:
    """Return the name of the visualizer that draws results of a kind."""
    for name in plugin_names("visualizer"):
        if plugin_class("visualizer", name).kind == result_kind:
            return name
    raise ConfigError(f"There is no visualizer for results of the kind {result_kind}.")
