"""Model parameters: is the map of a network with random weights another one (Adebayo et al. 2018, arXiv:1810.03292)?"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from fervis.evidence.protocol import ExplainAgain
from fervis.metrics.similarity import spearman
from fervis.models.batch import Batch


@dataclass
class ModelParameters:
    """Measure the rank correlation with the maps of the same network with all weights drawn anew.

    A correlation near 1 says that the map does not depend on what the network has learned.
    """

    better: ClassVar = "lower"
    needs: ClassVar = frozenset({"explain_again"})

    def measure(self, batch: Batch, maps: Tensor, again: ExplainAgain) -> dict[str, Tensor]:
        """Return the absolute rank correlation [N,T] in [0, 1]; NaN where a map is constant and has no order."""
        network = randomized(batch.model, int(torch.randint(2**31, (), generator=batch.generator("evidence/weights"))))
        other = again(model=network)
        ranks = spearman(maps.flatten(0, 1).abs(), other.flatten(0, 1).abs())
        return {"": ranks.abs().reshape(maps.shape[:2])}


def randomized(model: nn.Module, seed: int) -> nn.Module:
    """Return a copy of a network whose modules have drawn their initial weights again."""
    copied = copy.deepcopy(model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in copied.modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
    return copied
