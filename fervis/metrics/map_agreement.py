"""How far two methods agree about the same images (Krishna et al. 2022, arXiv:2202.01602, section 3)."""

from __future__ import annotations

import torch
from torch import Tensor

from fervis.metrics.similarity import spearman

AGREEMENTS = ("rank_correlation", "feature_agreement", "sign_agreement", "rank_agreement")


def pair_agreement(first: Tensor, second: Tensor, share: float = 0.1) -> dict[str, Tensor]:
    """Return how far pairs of maps [N,H,W] agree, by name, each [N] float64; NaN where one has no order.

    ``rank_correlation`` is Spearman's of the magnitudes of all pixels. Of the k pixels of largest magnitude,
    ``feature_agreement`` is the share that both maps have among them, ``sign_agreement`` the share that both have with
    the same sign, and ``rank_agreement`` the share that both have at the same rank. Of equal magnitudes the first pixel
    comes first. Maps that know nothing of each other have a feature agreement of k / P in the mean.

    Args:
        first: maps of one method.
        second: maps of another of the same images.
        share: of the P pixels; k is at least 1.
    """
    one, other = first.double().flatten(1), second.double().flatten(1)
    count = max(1, round(share * one.shape[1]))
    tops = [maps.abs().argsort(dim=1, descending=True, stable=True)[:, :count] for maps in (one, other)]
    in_first, in_second = (torch.zeros_like(one, dtype=torch.bool).scatter_(1, top, True) for top in tops)
    both = in_first & in_second
    found = {
        "feature_agreement": both.double().sum(1) / count,
        "sign_agreement": (both & (one.sign() == other.sign())).double().sum(1) / count,
        "rank_agreement": (tops[0] == tops[1]).double().sum(1) / count,
    }
    ordered = torch.stack([maps.abs().amax(1) > maps.abs().amin(1) for maps in (one, other)]).all(0)
    agreement = {"rank_correlation": spearman(first.abs(), second.abs())}
    return agreement | {name: values.where(ordered, torch.nan) for name, values in found.items()}
