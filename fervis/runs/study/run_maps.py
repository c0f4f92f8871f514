"""Read the maps of a study's parts from their run folders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fervis.core.registry import plugin_class
from fervis.core.results import HeatMaps
from fervis.reporting.run_files import read_config

_SCORES = "scores/"


@dataclass(frozen=True)
class RunMaps:
    """The maps of a run: of all its entries, of which the summary of a run of many images lists the first alone.

    Attributes:
        config: of the run.
        classes: names of the network's classes.
        targets: what each of N maps is of.
        maps: [N,H,W] float32.
        rows: [N] int64, the image of each map.
        labels: [N] int64.
        predictions: [N] int64.
        scores: name of a score -> [N] float32.
    """

    config: Mapping[str, Any]
    classes: tuple[str, ...]
    targets: tuple[str, ...]
    maps: Tensor
    rows: Tensor
    labels: Tensor
    predictions: Tensor
    scores: Mapping[str, Tensor]

    @property
    def method(self) -> str:
        """Name of the explainer."""
        return explainer_of(self.config)


def explainer_of(config: Mapping[str, Any]) -> str:
    """Return the name of a run's explainer."""
    return str(config["explainer"]["name"])


def has_heat_maps(config: Mapping[str, Any]) -> bool:
    """Whether the explainer of a run gives heat maps."""
    return plugin_class("explainer", explainer_of(config)).result is HeatMaps


def explainer_family(name: str) -> str:
    """Return the family of an explainer, the package that it is in: ``cam``, ``baselines``, ..."""
    return plugin_class("explainer", name).__module__.split(".")[-2]


def network_setting(config: Mapping[str, Any]) -> str:
    """Return what determines the network of a run and its data, as text."""
    return str({key: config[key] for key in ("seed", "model", "dataset")})


def read_run_maps(answer: Path) -> RunMaps:
    """Return the maps of a run folder whose explainer gives heat maps."""
    config = read_config(answer)[1]
    with np.load(answer / "arrays.npz", allow_pickle=False) as arrays:
        scores = [name for name in arrays.files if name.startswith(_SCORES)]
        return RunMaps(
            config=config,
            classes=tuple(map(str, arrays["classes"])),
            targets=tuple(map(str, arrays["targets"])),
            maps=torch.from_numpy(arrays["maps"]),
            rows=torch.from_numpy(arrays["rows"]),
            labels=torch.from_numpy(arrays["labels"]),
            predictions=torch.from_numpy(arrays["predictions"]),
            scores={name.removeprefix(_SCORES): torch.from_numpy(arrays[name]) for name in scores},
        )
