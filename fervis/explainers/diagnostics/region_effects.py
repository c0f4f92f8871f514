"""What hiding each region of a face does to the margin of two classes, face by face and in the mean of a group."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from fervis.core.intervals import Interval
from fervis.core.targets import class_targets
from fervis.datasets.landmarks.regions import FACE_REGIONS, OUTSIDE_FACE, FaceRegions
from fervis.metrics.bootstrap import CONFIDENCE, bootstrap_mean, resampled_counts
from fervis.models.batch import Batch
from fervis.models.hiding import hidden_scores, patch_order
from fervis.models.masking import masked_passes
from fervis.system.progress import progress

_WITH_ENDS = ("effect", "beyond", "flips", "flips/beyond")  # means whose intervals are stated


@dataclass(frozen=True)
class RegionEffects:
    """What hiding each of R regions does on n faces.

    Attributes:
        margins: [n] the logit of the target less that of the other class.
        effects: [n,R] by how much the margin falls when the region is hidden, NaN where the face lacks the region.
        random: [n,R] by how much it falls, in the mean, when random patches of its area on the face are; NaN also for
            regions outside the face.
        predicted: [n,R] int64, the class that is then predicted.
        patched: [n,D,R] int64, the class predicted when each of D patches is hidden.
        areas: [n,R] share of the image.
    """

    margins: Tensor
    effects: Tensor
    random: Tensor
    predicted: Tensor
    patched: Tensor
    areas: Tensor


def region_effects(
    batch: Batch,
    regions: FaceRegions,
    fill: Sequence[Tensor | None],
    draws: Tensor,
    pair: tuple[int, int],
    name: str,
) -> RegionEffects:
    """Hide every region of every face, and random patches of its area.

    Args:
        batch: its images are the faces.
        regions: of the faces.
        fill: for each face what replaces hidden pixels, as ``fills_of`` gives it.
        draws: [D] in [0, 1): where the patches are, as ``patch_order`` takes it.
        pair: numbers of the target and of the other class.
        name: of the faces, for the progress bar.
    """
    order = patch_order(regions.face, draws)
    targets = class_targets([pair[0]] * len(batch))
    found = []
    with masked_passes(batch.model, batch.images, targets, output="logit") as passes:
        for number in progress(range(len(batch)), name, "face", quiet=batch.quiet):
            given = batch.images[number], regions.masks[number], order[number], fill[number]
            found.append(hidden_scores(passes, *given))
    whole, without, patched = (torch.stack(parts) for parts in zip(*found, strict=True))  # [n,K], [n,R,K], [n,D,R,K]
    margins = _margin(whole, pair)
    areas = regions.masks.flatten(2).float().mean(2)
    effects = (margins[:, None] - _margin(without, pair)).where(areas > 0, torch.nan)
    random = (margins[:, None] - _margin(patched, pair).mean(1)).where(areas > 0, torch.nan)
    random[:, [FACE_REGIONS.index(outside) for outside in OUTSIDE_FACE]] = torch.nan
    return RegionEffects(margins, effects, random, without.argmax(2), patched.argmax(3), areas)


def _margin(logits: Tensor, pair: tuple[int, int]) -> Tensor:
    return logits[..., pair[0]] - logits[..., pair[1]]


def mean_effects(
    found: RegionEffects, pair: tuple[int, int], turned: int, resamples: int, generator: Generator
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return means over the faces with their 95 % bootstrap intervals, name -> [R], and which of them are clear.

    What hiding a region does is clear where the interval of its difference from random patches, face by face, excludes
    0 at a confidence that is corrected for the number of regions (Bonferroni): ``beyond`` -> [R] bool of the margin,
    ``flips/beyond`` -> [R] bool of the flips.

    Args:
        found: what hiding does on each face.
        pair: numbers of the two classes.
        turned: the one of them that the faces are not predicted as.
        resamples: of the bootstrap over faces.
        generator: of the resamples.
    """
    weights = torch.cat(list(resampled_counts(len(found.margins), resamples, generator)))
    present, compared = found.effects.isfinite(), found.random.isfinite()
    third = ~torch.isin(found.predicted, torch.tensor(pair))
    flips = (found.predicted == turned).double().where(present, torch.nan)
    random_flips = (found.patched == turned).double().mean(1).where(compared, torch.nan)
    columns = {
        "effect": found.effects,
        "random": found.random,
        "beyond": found.effects - found.random,
        "flips": flips,
        "flips/random": random_flips,
        "flips/beyond": flips - random_flips,
        "elsewhere": third.double().where(present, torch.nan),
        "area": found.areas,
    }
    means = {name: [bootstrap_mean(column, weights) for column in values.T] for name, values in columns.items()}
    corrected = 1 - (1 - CONFIDENCE) / max(1, int(compared.any(0).sum()))
    clear = {}
    for name in ("beyond", "flips/beyond"):
        intervals = [bootstrap_mean(column, weights, corrected) for column in columns[name].T]
        clear[name] = torch.tensor([interval.low > 0 or interval.high < 0 for interval in intervals])
    return {name: column for part, of in means.items() for name, column in _with_ends(part, of).items()}, clear


def _with_ends(name: str, intervals: Sequence[Interval]) -> dict[str, Tensor]:
    """Return the values [R], and for means whose interval is stated its ends."""
    ends = ("value", "low", "high") if name in _WITH_ENDS else ("value",)
    columns = {end: torch.tensor([getattr(interval, end) for interval in intervals]) for end in ends}
    return {name if end == "value" else f"{name}/{end}": column for end, column in columns.items()}


def strongest_faces(effects: Tensor, count: int) -> Tensor:
    """Return the positions of the faces [n] on which a region has most effect, in the direction of its mean."""
    known = effects.isfinite().nonzero().flatten()
    sign = math.copysign(1, float(effects[known].mean())) if len(known) else 1.0
    return known[(sign * effects[known]).argsort(descending=True, stable=True)][:count]
