"""Compare the maps of several methods with each other: the Python entry point."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import torch
from torch import Tensor

from fervis.core.intervals import Interval
from fervis.core.results import HeatMaps
from fervis.errors import ConfigError
from fervis.metrics.map_agreement import AGREEMENTS, pair_agreement
from fervis.runs.evidence import image_means
from fervis.runs.score import Maps

Agreement = dict[tuple[str, str], dict[str, Interval]]


def agreement(
    maps: Mapping[str, Maps], *, share: float = 0.1, images: Tensor | None = None, seed: int = 0
) -> Agreement:
    """Measure how far methods agree about the same images. Needs no network.

    Args:
        maps: name of a method -> its maps [N,H,W], in one order of images and targets for all: tensors, numpy arrays
            or results of ``explain``.
        share: of the pixels that count as a map's largest, in (0, 1].
        images: [N] int64, the image that each map is of; None if each is of another one.
        seed: of the bootstrap over images.

    Returns:
        Pair of methods -> name of ``AGREEMENTS`` -> mean over images, with its 95 % interval.

    Raises:
        ConfigError: fewer than two methods, maps of different shapes, or another share.

    Example:
        >>> maps = {"one": torch.eye(4)[None], "other": torch.eye(4)[None]}
        >>> agreement(maps)["one", "other"]["rank_correlation"].value
        1.0
    """
    if len(maps) < 2:
        raise ConfigError(f"maps: {len(maps)} of a method; expected those of two or more.")
    if not 0 < share <= 1:
        raise ConfigError(f"share={share}: expected a share of the pixels above 0 and at most 1.")
    values = {name: _single_maps(name, given) for name, given in maps.items()}
    first, expected = next((name, list(of.shape)) for name, of in values.items())
    for name, of_method in values.items():
        if list(of_method.shape) != expected:
            raise ConfigError(f"maps: those of {name} are {list(of_method.shape)}, those of {first} {expected}.")
    rows = torch.arange(expected[0]) if images is None else images
    if len(rows) != expected[0]:
        raise ConfigError(f"images: {len(rows)} numbers for {expected[0]} maps; expected one for each.")
    found: Agreement = {}
    for one, other in combinations(values, 2):
        pairs = pair_agreement(values[one], values[other], share)
        means = image_means(torch.stack([pairs[name] for name in AGREEMENTS]), rows, seed)
        found[one, other] = dict(zip(AGREEMENTS, means, strict=True))
    return found


def _single_maps(name: str, given: Maps) -> Tensor:
    """Return maps as [N,H,W] on the CPU."""
    values = torch.as_tensor(given.maps if isinstance(given, HeatMaps) else given).detach().cpu().float()
    if values.ndim != 3:
        raise ConfigError(f"maps: those of {name} are {list(values.shape)}; expected [N,H,W].")
    return values
