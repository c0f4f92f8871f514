"""Which of the user's overrides each part of a study takes, and a check of every part before the first one runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from omegaconf import DictConfig

from fervis.core.faces import Faces
from fervis.core.layers import INPUT, resolve_layers
from fervis.core.network import Network
from fervis.core.protocols import Explainer
from fervis.core.registry import option_settings, plugin_class
from fervis.datasets.selection import select_faces
from fervis.errors import ConfigError, nearest_name
from fervis.runs.chunked.chunks import UNCHUNKED_LIMIT
from fervis.runs.config import compose_config, to_run_config
from fervis.runs.inputs import check_inputs
from fervis.runs.overrides import PART_KINDS
from fervis.runs.setup import RunSetup, build_run, image_tensor
from fervis.runs.study.parts import Part, override_key
from fervis.system.console import log


@dataclass(frozen=True)
class PartRun:
    """A part of a study with the overrides that it runs with.

    Attributes:
        part: as the preset states it.
        overrides: its own and those of the user's that concern it.
        config: composed from them.
    """

    part: Part
    overrides: tuple[str, ...]
    config: DictConfig


def plan_parts(parts: Sequence[Part], own: Sequence[str]) -> list[PartRun]:
    """Return every part with its overrides, all of them checked on the untrained network.

    Args:
        parts: of the study.
        own: the user's overrides.

    Raises:
        ConfigError: an override that no part takes, or one that a part cannot run with; the part is named.
    """
    loaded: dict[str, Faces] = {}
    return [_checked(number, run, own, loaded) for number, run in enumerate(assign_overrides(parts, own), 1)]


def assign_overrides(parts: Sequence[Part], own: Sequence[str]) -> list[PartRun]:
    """Give each part the overrides that concern it.

    ``layer=`` concerns parts whose explainer uses layers, ``faces=`` those that explain faces, and ``against=`` or a
    setting such as ``explainer.filters=`` those whose explainer has it. Where ``faces=`` is given without ``split=``,
    all parts that explain faces take the split of the first of them, so that a row number means the same face in each.
    """
    shared = [override for override in own if not _is_selective(override)]
    # The study itself has no such setting, to which it was added by ``++``; the parts have it.
    selective = [override.removeprefix("++") for override in own if _is_selective(override)]
    bases = [_compose(part, part.overrides(shared)) for part in parts]
    taken = [[override for override in selective if _concerns(override, base)] for base in bases]
    for override in selective:
        if not any(override in some for some in taken):
            raise _no_part(override, bases)
    keys = {override_key(override) for override in own}
    if "faces" in keys and "split" not in keys:
        explained = [run for run in bases if _explains_faces(run.config)]
        for run, some in zip(bases, taken, strict=True):
            if run in explained and str(run.config.split) != str(explained[0].config.split):
                some.append(f"split={explained[0].config.split}")
    return [
        _compose(run.part, run.part.overrides([*shared, *some])) if some else run
        for run, some in zip(bases, taken, strict=True)
    ]


def _compose(part: Part, overrides: Sequence[str]) -> PartRun:
    return PartRun(part, tuple(overrides), compose_config(overrides))


def _is_selective(override: str) -> bool:
    """Whether an override concerns some parts and not others."""
    kind, dot, _ = override_key(override).partition(".")
    return kind in ("layer", "faces", "against") or (kind in PART_KINDS and bool(dot))


def _concerns(override: str, run: PartRun) -> bool:
    kind, _, setting = override_key(override).partition(".")
    if kind == "layer":
        layer = override.partition("=")[2]
        return bool({"layers", "pixels" if layer == INPUT else "layers"} & _explainer_class(run.config).takes)
    if kind == "faces":
        return _explains_faces(run.config)
    if kind == "against":
        return "against" in run.config.explainer
    return setting.partition(".")[0] in run.config[kind]


def _explainer_class(config: DictConfig) -> type[Explainer]:
    return plugin_class("explainer", str(config.explainer.name))


def _explains_faces(config: DictConfig) -> bool:
    return _explainer_class(config).scope == "image"


def _no_part(override: str, runs: Sequence[PartRun]) -> ConfigError:
    key = override_key(override)
    kind = key.partition(".")[0]
    if kind not in PART_KINDS:
        return ConfigError(f"{override}: no part of the study takes {kind}=; leave it away.")
    known = {f"{kind}.{setting}": None for run in runs for setting in run.config[kind] if setting != "name"}
    return ConfigError(f"{override}: no part of the study has this setting.{nearest_name(key, known)}")


def _checked(number: int, run: PartRun, own: Sequence[str], loaded: dict[str, Faces]) -> PartRun:
    """Check a part, after its preset is fitted to the network; errors name the part.

    Args:
        number: of the part, from 1.
        run: the part.
        own: the user's overrides.
        loaded: images by the settings of their data set, to which this part's are added.
    """
    try:
        setup = build_run(to_run_config(run.config))
        settings = str(setup.config.dataset)
        if settings not in loaded:
            loaded[settings] = setup.dataset.load(setup.config.cache)
        faces = loaded[settings]
        network = setup.network(faces).to(setup.device).eval()
        fitted = list(_fit_preset(run, own, setup, faces, network))
        if fitted:
            log.info("part %d: %s, as this network has other layers or filters", number, " ".join(fitted))
            run = _compose(run.part, [*run.overrides, *fitted])
            setup = build_run(to_run_config(run.config))
        selected = select_faces(faces, setup.config.split, setup.config.faces)
        few = selected.take(torch.arange(min(len(selected), UNCHUNKED_LIMIT)))
        check_inputs(setup, few, image_tensor(few, setup), network)
    except ConfigError as error:
        raise ConfigError(f"part {number} of the study ({run.part.title}): {error}") from error
    return run


def _fit_preset(run: PartRun, own: Sequence[str], setup: RunSetup, faces: Faces, network: Network) -> Iterator[str]:
    """Yield overrides by which a preset's own layers and filters are replaced where the network does not have them.

    Layers that it does not have leave the explainer's default layer; of a list of filters those that exist stay, and
    where none does, the explainer's default applies. What the user chose is not touched.
    """
    keys = {override_key(override) for override in own}
    pixels = image_tensor(faces.take(torch.tensor([0])), setup)
    layer: Any = setup.config.layer
    if layer is not None and "layer" not in keys:
        wanted = [layer] if isinstance(layer, str) else list(layer)
        there = [name for name in wanted if _has_layer(network, name, pixels)]
        if len(there) < len(wanted):
            layer = there or None
            yield f"layer={'null' if layer is None else '[' + ','.join(there) + ']'}"
    filters = setup.config.explainer.get("filters")
    if isinstance(filters, list) and "explainer.filters" not in keys:
        layers = resolve_layers(network, layer or setup.explainer.default_layer, pixels)
        channels = min(resolved.channels for resolved in layers)
        there = [number for number in filters if number < channels]
        if len(there) < len(filters):
            default = option_settings("explainer", setup.explainer_name)["filters"]
            yield f"explainer.filters={str(there).replace(' ', '') if there else default}"


def _has_layer(network: Network, name: str, pixels: torch.Tensor) -> bool:
    try:
        resolve_layers(network, name, pixels)
    except ConfigError:
        return False
    return True
