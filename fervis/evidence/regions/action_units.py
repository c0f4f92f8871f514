"""Overlap of maps with the action-unit regions of their own expression, and of other expressions (Gaya-Morey 2024).

The overlap of maps with masks of the parts in which an expression shows has been published as agreement with human
experts (Gaya-Morey et al. 2024, arXiv:2401.11835, mean 0.27). Alone it is no evidence: the same maps overlap with the
masks of *other* expressions by 0.26. A map of a class must fit its own expression better.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fervis.datasets.landmarks.regions import EXPRESSIONS, FaceRegions, expression_name, expression_units
from fervis.metrics.mask_overlap import overlaps
from fervis.metrics.thresholds import otsu_thresholds
from fervis.models.batch import Batch


def action_unit_scores(batch: Batch, regions: FaceRegions, magnitudes: Tensor, codebook: str) -> dict[str, Tensor]:
    """Return share, area, density and overlaps [N,T] of the regions of each target's action units.

    A map marks the pixels above its own Otsu threshold; ``iou`` is the intersection over union with the target's own
    regions, ``other_iou`` the mean with those of the five other expressions, ``iou_lead`` the difference.

    Args:
        batch: N images with T targets each.
        regions: of the images.
        magnitudes: [N,T,H,W] of maps.
        codebook: which action units make an expression.

    Returns:
        No scores where the network has no class that is an expression; NaN for targets that are none, such as neutral.
    """
    if not {expression_name(name) for name in batch.classes} & set(EXPRESSIONS):
        return {}
    own = _expressions_of(batch)
    masks = torch.stack([regions.action_units(expression_units(name, codebook)) for name in EXPRESSIONS], 1)
    inside = torch.einsum("ntp,nkp->ntk", magnitudes.flatten(2).double(), masks.flatten(2).double())
    share = _chosen(inside, own) / magnitudes.double().sum((2, 3))
    area = _chosen(masks.double().mean((2, 3))[:, None].expand_as(inside), own)
    cuts = otsu_thresholds(magnitudes.flatten(0, 1).flatten(1)).reshape(magnitudes.shape[:2])
    marked = magnitudes > cuts[..., None, None]
    values = overlaps(marked, masks)
    matched = _chosen(values, own).where(marked.flatten(2).any(2), torch.nan)
    other = (values.sum(2) - matched) / (len(EXPRESSIONS) - 1)
    scores = {"share": share, "area": area, "density": share / area}
    return scores | {"iou": matched, "other_iou": other, "iou_lead": matched - other}


def _expressions_of(batch: Batch) -> Tensor:
    """Positions [N,T] of the targets among the expressions, -1 for those that are none."""
    classes = batch.targets.classes
    if classes is None:
        return torch.full((len(batch), batch.targets.count), -1)
    names = [expression_name(name) for name in batch.classes]
    positions = [EXPRESSIONS.index(name) if name in EXPRESSIONS else -1 for name in names]
    positions += [-1] * max(0, int(classes.max()) + 1 - len(positions))
    return torch.tensor(positions)[classes.cpu()]


def _chosen(values: Tensor, own: Tensor) -> Tensor:
    """Of values [N,T,K] those [N,T] at a position, NaN where it is -1."""
    return values.gather(2, own.clamp(min=0)[..., None])[..., 0].where(own >= 0, torch.nan)
