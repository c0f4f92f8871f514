"""FunnyBirds' scores by drawing a face again without a part (Hesse et al. 2023, arXiv:2308.06248).

A part is a group of action units, and a face without it is the same person with these at rest: nothing is out of the
distribution that the network was trained on. Of P parts all 2^P faces are drawn and passed through the network once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from scipy.stats import rankdata
from torch import Tensor
from torch.nn import functional as F

from fervis.core.faces import Truth
from fervis.datasets.portraits.action_units import PART_UNITS
from fervis.errors import ConfigError
from fervis.evidence.faithfulness.target_sensitivity import target_sensitivity
from fervis.evidence.protocol import ExplainAgain
from fervis.models.batch import Batch

THRESHOLDS = torch.linspace(0.01, 0.5, 80, dtype=torch.float64)
"""Shares of a map's mass above which a part is important, as in FunnyBirds."""
IRRELEVANT = 0.05  # relative drop of the logit below which a part does not matter to the network
_REACH = 5  # pixels, side of the square by which the mask of a part is widened


@dataclass
class PartRemoval:
    """Measure which parts a map marks against what the network does without them.

    The mass of a part is that of the map's positive values in its mask, the pixels that change without it widened by
    5 x 5. A part is important above a share t of the whole mass. Where FunnyBirds takes the t of the best score, chosen
    on the images that are scored, the scores here are means over all 80 of its t: nothing is chosen. All are in [0, 1]:

    - ``sufficient`` (CSDC): greatest part of a minimal sufficient set of parts that is important.
    - ``preserved`` (PC): with the important parts alone the prediction stays.
    - ``deleted`` (DC): without the important parts the prediction changes.
    - ``distraction`` (D): part of the parts that do not matter to the network that is not important.
    - ``order`` (SD): (1 + Spearman) / 2 of the drop of the logit without each part with the mass of the part.

    - ``sensitive`` (TS): of maps of several classes, ``target_sensitivity``; for one class there is none.

    The measure itself is ``completeness_and_correctness`` of them. Faces without an expression have no scores.
    """

    better: ClassVar = "higher"
    needs: ClassVar = frozenset({"truth"})

    def measure(self, batch: Batch, maps: Tensor, again: ExplainAgain) -> dict[str, Tensor]:
        """Return the scores [N,T]; NaN where a face has no part for one.

        Raises:
            ConfigError: the data set cannot draw its faces again, or targets are filters.
        """
        truth, classes = batch.truth, batch.targets.classes
        if truth is None or truth.redraw is None or classes is None:
            raise ConfigError(
                "evidence=part_removal: it draws faces again without a part, of a class; ask with dataset=synthetic, "
                "without its shortcut."
            )
        pictures, active = _pictures_of_subsets(truth)
        channels = batch.images.shape[1]
        stacked = pictures.flatten(0, 1)[:, None].expand(-1, channels, -1, -1).to(batch.images) / 255
        logits = batch.score(stacked.split(batch.at_once)).double().unflatten(0, pictures.shape[:2])
        masks = _part_masks(pictures)
        mass = torch.einsum("nthw,nphw->ntp", maps.double().clamp(min=0).cpu(), masks.double())
        whole = maps.double().clamp(min=0).flatten(2).sum(2).cpu()
        scores = part_scores(mass, whole, logits, classes.cpu(), active)
        return {"": completeness_and_correctness(scores), **scores}


def completeness_and_correctness(scores: dict[str, Tensor]) -> Tensor:
    """Return the mean of completeness, ((CSDC + PC + DC) / 3 + D) / 2, and correctness, SD; NaN left out.

    Where a face has no part that does not matter, completeness is the first term alone.
    """
    kept = (scores["sufficient"] + scores["preserved"] + scores["deleted"]) / 3
    completeness = torch.stack([kept, scores["distraction"]]).nanmean(0)
    return torch.stack([completeness, scores["order"]]).nanmean(0).where(kept.isfinite(), torch.nan)


def part_scores(mass: Tensor, whole: Tensor, logits: Tensor, classes: Tensor, active: Tensor) -> dict[str, Tensor]:
    """Score the masses of parts.

    Args:
        mass: [N,T,P] of the map in each part.
        whole: [N,T] of the map.
        logits: [N,2^P,K] of the face with each subset of its parts; bit p of the subset's number shows part p.
        classes: [N,T] class that the map explains.
        active: [N,P] whether the face has the part.

    Returns:
        The scores of ``PartRemoval``, [N,T] each; ``sensitive`` for T > 1.
    """
    count, parts = active.shape
    bits = 1 << torch.arange(parts)
    important = mass[..., None] > whole[..., None, None] * THRESHOLDS  # [N,T,P,thresholds]
    important &= active[:, None, :, None]
    codes = torch.einsum("ntpq,p->ntq", important.long(), bits)
    everything = (active.long() * bits).sum(1)
    predicted = logits.argmax(2)
    same = predicted == predicted[:, -1:]  # [N,2^P]; the last subset is the whole face
    rows = torch.arange(count)[:, None, None]
    preserved = same[rows, codes].double().mean(2)
    deleted = (~same[rows, everything[:, None, None] - codes]).double().mean(2)
    drops = _drops(logits, classes, bits)
    full = logits[:, -1].gather(1, classes)
    irrelevant = (drops < IRRELEVANT * full.abs()[..., None]) & active[:, None]
    marked = (important & irrelevant[..., None]).sum(2).double() / irrelevant.sum(2, keepdim=True)
    found = active.any(1)[:, None]
    several = classes.shape[1] > 1
    sensitive = {"sensitive": target_sensitivity(mass, whole, drops, active)} if several else {}
    return {
        "sufficient": _sufficient(important, same, everything, bits),
        "preserved": preserved.where(found, torch.nan),
        "deleted": deleted.where(found, torch.nan),
        "distraction": (1 - marked).mean(2),
        "order": (1 + _rank_correlation(mass, drops, active)) / 2,
        **sensitive,
    }


def _pictures_of_subsets(truth: Truth) -> tuple[Tensor, Tensor]:
    """Return [N,2^P,H,W] uint8, each face with each subset of its parts, and whether it has each part [N,P]."""
    assert truth.redraw is not None
    assert truth.persons is not None
    of_part = torch.tensor([[name in units for name in truth.action_unit_names] for units in PART_UNITS.values()])
    shown = (torch.arange(2 ** len(PART_UNITS))[:, None] >> torch.arange(len(PART_UNITS))) & 1
    units = truth.action_units[:, None] * (shown.float() @ of_part.float())
    persons = truth.persons[:, None].expand(-1, len(shown), -1)
    drawn = truth.redraw(persons.flatten(0, 1), units.flatten(0, 1)).unflatten(0, units.shape[:2])
    return drawn, (truth.action_units[:, None] * of_part).any(2)


def _part_masks(pictures: Tensor) -> Tensor:
    """Return [N,P,H,W]: where the whole face changes without each part, widened."""
    last = pictures.shape[1] - 1
    without = [last - (1 << part) for part in range(len(PART_UNITS))]
    changed = (pictures[:, without] != pictures[:, last:]).float()
    return F.max_pool2d(changed, _REACH, stride=1, padding=_REACH // 2) > 0


def _drops(logits: Tensor, classes: Tensor, bits: Tensor) -> Tensor:
    """Return [N,T,P]: by how much the logit of each class falls without each part."""
    changes = logits[:, -1:] - logits[:, logits.shape[1] - 1 - bits]  # [N,P,K]
    return changes.transpose(1, 2).gather(1, classes[..., None].expand(-1, -1, len(bits)))


def _sufficient(important: Tensor, same: Tensor, everything: Tensor, bits: Tensor) -> Tensor:
    """Return [N,T] the greatest important share of a minimal sufficient set; NaN where no part is needed."""
    subsets = torch.arange(same.shape[1])
    member = (subsets[:, None] & bits) > 0  # [subsets,P]
    possible = same & ((subsets & ~everything[:, None]) == 0)
    contained = (subsets[:, None] & ~subsets) == 0  # [a,b]: a is a subset of b
    contained &= subsets[:, None] != subsets
    minimal = possible & ~(possible.double() @ contained.double() > 0)
    shares = torch.einsum("ntpq,sp->ntsq", important.double(), member.double()) / member.sum(1)[:, None].clamp(min=1)
    best = shares.masked_fill(~minimal[:, None, :, None], -1).amax(2).mean(2)
    return best.masked_fill(minimal[:, :1] | ~minimal.any(1, keepdim=True), torch.nan)


def _rank_correlation(first: Tensor, second: Tensor, active: Tensor) -> Tensor:
    """Return [N,T] Spearman's correlation over the parts that a face has; 0 where one is constant, NaN below two."""
    ranks = []
    for values in (first, second):
        known = values.masked_fill(~active[:, None], torch.nan)
        ranked = torch.from_numpy(rankdata(known.numpy(), axis=2, nan_policy="omit"))
        ranks.append(ranked - ranked.nanmean(2, keepdim=True))
    one, two = (centred.nan_to_num() for centred in ranks)
    scale = (one.square().sum(2) * two.square().sum(2)).sqrt()
    correlation = (one * two).sum(2) / scale.where(scale > 0, 1.0)
    return correlation.where((active.sum(1) > 1)[:, None], torch.nan)
