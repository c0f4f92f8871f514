"""Seed stability: does a method that draws samples give the same map with other draws?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from fervis.core.knobs import Whole
from fervis.evidence.protocol import ExplainAgain
from fervis.metrics.similarity import centered_ranks
from fervis.models.batch import Batch


@dataclass
class SeedStability:
    """Measure the mean rank correlation over all pairs of maps under different seeds; 1 for methods without draws.

    LIME's instability is the usual subject (Visani et al. 2022, arXiv:2001.11757, of coefficients).

    Attributes:
        seeds: maps that are compared, the run's own among them.
    """

    seeds: Annotated[int, Whole(2, 1000)] = 3
    better: ClassVar = "higher"
    needs: ClassVar = frozenset({"explain_again"})

    def measure(self, batch: Batch, maps: Tensor, again: ExplainAgain) -> dict[str, Tensor]:
        """Return the correlation [N,T] in [-1, 1]; NaN where a map is constant."""
        seeds = torch.randint(2**31, (self.seeds - 1,), generator=batch.generator("evidence/seed_stability")).tolist()
        several = [maps]
        for seed in seeds:
            several.append(again(seed=seed))
            if len(several) == 2 and torch.equal(several[0], several[1]):
                several = [maps] * self.seeds  # the method draws nothing
                break
        ranks = torch.stack([centered_ranks(some.flatten(0, 1)) for some in several])
        return {"": _mean_over_pairs(ranks).reshape(maps.shape[:2])}


def _mean_over_pairs(ranks: Tensor) -> Tensor:
    """Return the mean [M] of the correlations of all pairs of S rankings [S,M,P], each centred.

    Of unit vectors ``u`` it is ``(|sum of u|^2 - S) / (S (S - 1))``, since the square holds each pair twice and S ones.
    """
    count = len(ranks)
    units = ranks / ranks.square().sum(2, keepdim=True).sqrt()
    return ((units.sum(0).square().sum(1) - count) / (count * (count - 1))).clamp(-1, 1)
