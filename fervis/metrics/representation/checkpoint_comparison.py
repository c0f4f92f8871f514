"""Two checkpoints of one network on the same faces: how similar their layers and their explanations are.

Layer by layer the linear CKA of the two, their dead filters and the black part of their outputs; face by face the
structural similarity and the rank correlation of their maps. Every number has a 95 % bootstrap interval over faces,
and all numbers of a comparison are resampled together, so that differences between them are those of the same faces.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from fervis.core.intervals import Interval, format_interval
from fervis.core.layers import Layer
from fervis.errors import ConfigError
from fervis.metrics.bootstrap import bootstrap_mean, resample_indices
from fervis.metrics.representation.layer_statistics import cka_with_interval, dead_units, even_batches, layer_statistics
from fervis.metrics.similarity import WINDOW, spearman, ssim, to_own_range
from fervis.system.progress import progress

FEWEST_FACES = 8  # faces


@dataclass(frozen=True)
class LayerComparison:
    """One layer at two checkpoints.

    Attributes:
        layer: its name.
        cka: linear CKA of the two, without bias, over the whole output.
        dead: at each checkpoint the share of filters whose output is nowhere above zero for any face.
        black: at each checkpoint the share of outputs at or below zero, mean over faces.
        blacker: mean over faces of the first checkpoint's black share less the second's.
    """

    layer: str
    cka: Interval
    dead: tuple[Interval, Interval]
    black: tuple[Interval, Interval]
    blacker: Interval


@dataclass(frozen=True)
class MapComparison:
    """The maps of N faces at two checkpoints.

    Attributes:
        name: what the maps are of, such as a layer's name.
        ssim: [N] float64, structural similarity of the two maps of each face; NaN where smaller than its window.
        spearman: [N] float64, rank correlation of the two maps, NaN where one of them is constant.
        mean_ssim: the mean over faces.
        mean_spearman: the mean over faces that have one.
        other_ssim: the mean over pairs of the first checkpoint's map of a face and the second's of another face: how
            similar maps are that only have in common to be of faces. NaN for a single face.
        other_spearman: the same of the rank correlation.
    """

    name: str
    ssim: Tensor
    spearman: Tensor
    mean_ssim: Interval
    mean_spearman: Interval
    other_ssim: Interval
    other_spearman: Interval


@dataclass(frozen=True)
class CheckpointComparison:
    """The comparison of two checkpoints.

    Attributes:
        names: of the two checkpoints.
        faces: how many faces the layers were compared on.
        agreement: share of those faces that both give the same class.
        layers: the layers' comparisons, in the order of the run.
        maps: the maps' comparisons.
    """

    names: tuple[str, str]
    faces: int
    agreement: Interval
    layers: tuple[LayerComparison, ...]
    maps: tuple[MapComparison, ...] = ()

    def numbers(self) -> dict[str, float]:
        """Return every finite number by name: ``best~1/conv7/cka``, ``1/conv7/black``, ``best~1/input/ssim``.

        Numbers of one checkpoint are under its name, those of two under both. An interval's ends are
        ``<name>_low`` and ``<name>_high``. Shares are in [0, 1].
        """
        both = "~".join(self.names)
        values = {f"{both}/agreement": self.agreement}
        for one in self.layers:
            values[f"{both}/{one.layer}/cka"] = one.cka
            values[f"{both}/{one.layer}/blacker"] = one.blacker
            for name, dead, black in zip(self.names, one.dead, one.black, strict=True):
                values |= {f"{name}/{one.layer}/dead": dead, f"{name}/{one.layer}/black": black}
        for maps in self.maps:
            values |= {f"{both}/{maps.name}/ssim": maps.mean_ssim, f"{both}/{maps.name}/spearman": maps.mean_spearman}
            values[f"{both}/{maps.name}/ssim_other_face"] = maps.other_ssim
            values[f"{both}/{maps.name}/spearman_other_face"] = maps.other_spearman
        numbers = {
            f"{name}{ending}": value
            for name, number in values.items()
            for ending, value in (("", number.value), ("_low", number.low), ("_high", number.high))
        }
        return {name: value for name, value in numbers.items() if math.isfinite(value)}

    def table(self) -> list[dict[str, str]]:
        """Return one row per layer, as text: its numbers with their intervals."""
        first, second = self.names
        return [
            {
                "layer": one.layer,
                "CKA": format_value(one.cka),
                f"dead, {first}": format_share(one.dead[0]),
                f"dead, {second}": format_share(one.dead[1]),
                f"black, {first}": format_share(one.black[0]),
                f"black, {second}": format_share(one.black[1]),
            }
            for one in self.layers
        ]

    def map_table(self) -> list[dict[str, str]]:
        """Return one row per set of maps, as text."""
        return [
            {
                "maps at": one.name,
                "faces": str(len(one.ssim)),
                "SSIM": format_value(one.mean_ssim),
                "Spearman": format_value(one.mean_spearman),
                "SSIM, another face": format_value(one.other_ssim),
                "Spearman, another face": format_value(one.other_spearman),
            }
            for one in self.maps
        ]


def compare_checkpoints(
    first: nn.Module,
    second: nn.Module,
    images: Tensor,
    layers: Sequence[Layer],
    *,
    names: tuple[str, str],
    generator: Generator,
    maps: Mapping[str, tuple[Tensor, Tensor]] | None = None,
    signed: bool = False,
) -> CheckpointComparison:
    """Compare two checkpoints of one network on the same faces; both are left as they were.

    Args:
        first: network from images to [N,K] logits.
        second: the same network with other weights.
        images: [n,C,H,W] float, at least 8 faces to compare the layers on.
        layers: layers with a map, as ``fervis.core.layers.find_layer`` gives them.
        names: of the two checkpoints, such as ``best`` and ``1``.
        generator: on the CPU, for the bootstrap.
        maps: what maps are of -> two [N,H,W] tensors, the first's maps of N faces and the second's; these faces need
            not be those of ``images``. Each map is brought to its own range before SSIM.
        signed: whether the maps are signed, or magnitudes.

    Raises:
        ConfigError: fewer than 8 faces.
    """
    if len(images) < FEWEST_FACES:
        raise ConfigError(f"faces={len(images)}: at least {FEWEST_FACES} were expected, to compare two networks by.")
    seen = [layer_statistics(model, even_batches(images), layers) for model in (first, second)]
    weights = resample_indices(len(images), generator)
    (logits, one), (other_logits, other) = seen
    alike = (logits.argmax(1) == other_logits.argmax(1)).double()
    found = []
    for layer in progress(layers, "contrast", "layer"):
        pair = one[layer.name], other[layer.name]
        found.append(
            LayerComparison(
                layer=layer.name,
                cka=cka_with_interval(*pair, weights),
                dead=(dead_units(pair[0], weights), dead_units(pair[1], weights)),
                black=(bootstrap_mean(pair[0].black, weights), bootstrap_mean(pair[1].black, weights)),
                blacker=bootstrap_mean(pair[0].black - pair[1].black, weights),
            )
        )
    compared = compare_maps(maps or {}, signed=signed, generator=generator)
    return CheckpointComparison(names, len(images), bootstrap_mean(alike, weights), tuple(found), compared)


def compare_maps(
    maps: Mapping[str, tuple[Tensor, Tensor]], *, signed: bool, generator: Generator
) -> tuple[MapComparison, ...]:
    """Compute structural similarity and rank correlation of pairs of maps [N,H,W], per face and in the mean."""
    found = []
    for name, (first, second) in maps.items():
        first, second = first.cpu(), second.cpu()
        weights = resample_indices(len(first), generator)
        structure, order = _mean_similarity(first, second, signed)
        # Half way round: where a face stands several times in a row, for several targets, it meets another one.
        others = [torch.full_like(order, torch.nan)] * 2
        if len(first) > 1:
            others = _mean_similarity(first, second.roll(len(second) // 2, 0), signed)
        means = [bootstrap_mean(values, weights) for values in (structure, order, *others)]
        found.append(MapComparison(name, structure, order, *means))
    return tuple(found)


def _mean_similarity(first: Tensor, second: Tensor, signed: bool) -> list[Tensor]:
    """Compute [N] structural similarities and [N] rank correlations of pairs of maps."""
    order = spearman(first, second)
    if min(first.shape[1:]) < WINDOW:
        return [torch.full_like(order, torch.nan), order]
    return [ssim(to_own_range(first, signed=signed), to_own_range(second, signed=signed)), order]


def format_value(number: Interval) -> str:
    """Format as ``0.412 [0.398, 0.431]``; without brackets where there is no interval, a dash for no number."""
    return format_interval(number, ".3f")


def format_share(number: Interval) -> str:
    """Format a share as ``41.2 [39.8, 43.1] %``, as ``format_value`` where something is missing."""
    return format_interval(number.percent, ".1f", unit=" %", unit_last=True)
