"""Name -> plug-in: found by file name, imported when asked for, built and type-checked by its own dataclass."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fervis.errors import WrongQuestion, nearest, unknown

if TYPE_CHECKING:
    from omegaconf import DictConfig

KINDS = {
    "dataset": "datasets",
    "model": "models",
    "trainer": "trainers",
    "explainer": "explainers",
    "visualizer": "visualizers",
    "tracker": "trackers",
}

HERE = Path(__file__).resolve().parent
CHECKOUT = (HERE.parent / "conf").is_dir() and (HERE.parent / "pyproject.toml").is_file()
CONF = HERE.parent / "conf" if CHECKOUT else HERE / "_conf"
EXPERIMENTS = HERE.parent / "experiments" if CHECKOUT else HERE / "_experiments"


@cache
def conf_packages() -> tuple[str, ...]:
    """Packages of other people that carry YAML files for their plug-ins (entry points ``fervis.conf``)."""
    return tuple(sorted(point.value for point in entry_points(group="fervis.conf")))


def conf_folders() -> Iterator[Path]:
    """Folders that hold ``<kind>/<option>.yaml``: fervis's own and those of installed plug-in packages."""
    yield CONF
    for package in conf_packages():
        yield Path(str(files(package)))


def options(kind: str) -> dict[str, Path]:
    """Every option of a kind, by name, with its YAML file."""
    found = {path.stem: path for folder in conf_folders() for path in (folder / kind).glob("*.yaml")}
    return dict(sorted(found.items()))


def names(kind: str) -> list[str]:
    """The names that can be asked for: of a kind such as ``explainer``, or of the presets (``experiment``).

    Raises:
        WrongQuestion: there is no such kind.
    """
    if kind not in (*KINDS, "experiment"):
        raise unknown("kind", kind, (*KINDS, "experiment"))
    return list(presets() if kind == "experiment" else options(kind))


def presets() -> dict[str, Path]:
    """Every preset question of ``experiments/``, by name."""
    return {path.stem: path for path in sorted(EXPERIMENTS.glob("*.yaml"))}


def summary(path: Path) -> str:
    """What a YAML file says of itself in its first comment."""
    with path.open(encoding="utf-8") as lines:
        first = next((line for line in lines if line.startswith("#") and "@package" not in line), "")
    return first.lstrip("# ").strip()


def settings(kind: str, name: str) -> DictConfig:
    """The settings of an option as its YAML states them, those of the options it starts from included."""
    from omegaconf import DictConfig, OmegaConf  # here, since completion lists names in a moment

    known = options(kind)
    if name not in known:
        raise unknown(kind, name, known)
    own = OmegaConf.load(known[name])
    assert isinstance(own, DictConfig)
    bases = [base for base in own.pop("defaults", []) if isinstance(base, str) and base != "_self_"]
    merged = OmegaConf.merge(*(settings(kind, base) for base in bases), own)
    assert isinstance(merged, DictConfig)
    return merged


def build(kind: str, config: Mapping[str, Any] | str, **changes: Any) -> Any:
    """Build a plug-in from its settings, or from an option's name and the settings to change.

    Raises:
        WrongQuestion: an unknown name or setting, a value of the wrong type, or one the plug-in refuses.

    Example:
        >>> build("tracker", "none")
        NoTracker()
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    given: Mapping[Any, Any] = {**settings(kind, config), **changes} if isinstance(config, str) else config
    knobs = {str(key): value for key, value in given.items()}
    schema = OmegaConf.structured(plugin_class(kind, knobs.pop("name")))
    try:
        return OmegaConf.to_object(OmegaConf.merge(schema, knobs))
    except OmegaConfBaseException as error:
        raise _wrong_setting(kind, knobs, schema, error) from error


def _wrong_setting(kind: str, knobs: Mapping[str, Any], schema: DictConfig, error: Exception) -> WrongQuestion:
    key = str(getattr(error, "full_key", "") or "")
    field = key.partition(".")[0].partition("[")[0]
    if field not in schema:
        known = ", ".join(str(name) for name in schema) or "none"
        return WrongQuestion(f"{kind}.{key}: there is no such setting.{nearest(field, schema)} Known: {known}.")
    return WrongQuestion(f"{kind}.{key}={knobs.get(field)}: {str(error).splitlines()[0]}.")


def plugin_class(kind: str, name: str) -> type:
    """The dataclass behind a plug-in's name: ``PLUGIN`` of fervis's own file, or another package's entry point."""
    if (HERE / KINDS[kind] / f"{name}.py").is_file() and name != "__init__":
        return importlib.import_module(f"fervis.{KINDS[kind]}.{name}").PLUGIN
    points = {point.name: point for point in _foreign(kind)}
    if name not in points:
        raise unknown(kind, name, [*sorted(path.stem for path in _own_files(kind)), *sorted(points)])
    return points[name].load()


def plugin_names(kind: str) -> list[str]:
    """Names of every plug-in of a kind, fervis's own and those installed by others."""
    return sorted({path.stem for path in _own_files(kind)} | {point.name for point in _foreign(kind)})


def _own_files(kind: str) -> list[Path]:
    return [path for path in (HERE / KINDS[kind]).glob("*.py") if path.stem != "__init__"]


def _foreign(kind: str) -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=f"fervis.{KINDS[kind]}"))


def visualizer_for(result_kind: str) -> str:
    """The name of the visualizer that draws results of a kind."""
    for name in plugin_names("visualizer"):
        if plugin_class("visualizer", name).kind == result_kind:
            return name
    raise WrongQuestion(f"There is no visualizer for results of the kind {result_kind}.")
