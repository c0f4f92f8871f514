"""Model parameters: does a map change when the network's layers draw their weights again (Adebayo et al. 2018)?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from fervis.core.knobs import Choice, Whole
from fervis.evidence.protocol import ExplainAgain
from fervis.metrics.similarity import WINDOW, centered_ranks, ranks_correlation, ssim, to_own_range
from fervis.models.batch import Batch
from fervis.models.random_weights import randomized_networks


@dataclass
class ModelParameters:
    """Measure how similar maps stay while layer after layer is randomized, from the output on (arXiv:1810.03292).

    A similarity near 1 means that the map does not depend on what the network has learned. Scores are means over the
    randomized networks; the original network, whose similarity is 1, is not one of them.

    Attributes:
        order: ``cascading``: layers stay random; ``independent``: one layer at a time.
        steps: ``all``: one network per layer; or a number of networks, for which layers are randomized in groups. With
            cascading and 1, only the network without any learned weight is compared.
        curves: return the similarity after each step too.
    """

    order: Annotated[str, Choice("cascading", "independent")] = "cascading"
    steps: Annotated[Any, Choice("all") | Whole(1)] = "all"
    curves: bool = False
    better: ClassVar = "lower"
    needs: ClassVar = frozenset({"explain_again"})

    def measure(self, batch: Batch, maps: Tensor, again: ExplainAgain) -> dict[str, Tensor]:
        """Return similarities [N,T] in [-1, 1]; a step at which one of the maps is constant has no rank correlation.

        The measure itself is the rank correlation of magnitudes; ``signed`` that of the maps as they are, and ``ssim``
        the structural similarity of magnitudes, for maps of at least 11 x 11 pixels.
        """
        networks = randomized_networks(
            batch.model,
            batch.images[:1],
            batch.generator("evidence/model_parameters"),
            cascading=self.order == "cascading",
            steps=None if self.steps == "all" else self.steps,
        )
        original = _Original(maps.flatten(0, 1))
        curve = {name: original.similarities(again(model=network).flatten(0, 1)) for name, network in networks}
        scores = {
            part: torch.stack([values[part] for values in curve.values()]).nanmean(0)
            for part in next(iter(curve.values()), {})
        }
        if self.curves:
            scores |= {
                f"{name}{'/' * bool(part)}{part}": of for name, parts in curve.items() for part, of in parts.items()
            }
        return {name: values.reshape(maps.shape[:2]) for name, values in scores.items()}


class _Original:
    """Maps [M,H,W] that others are compared with; what depends on them alone is computed once."""

    def __init__(self, maps: Tensor) -> None:
        self.positive = bool((maps >= 0).all())
        self.magnitudes = to_own_range(maps.abs(), signed=False)
        self.ranks = centered_ranks(maps.abs())
        self.signed_ranks = self.ranks if self.positive else centered_ranks(maps)

    def similarities(self, others: Tensor) -> dict[str, Tensor]:
        """Return the similarities [M] of other maps, by name."""
        ranks = centered_ranks(others.abs())
        signed = ranks if self.positive and bool((others >= 0).all()) else centered_ranks(others)
        parts = {"": ranks_correlation(self.ranks, ranks), "signed": ranks_correlation(self.signed_ranks, signed)}
        if min(others.shape[1:]) >= WINDOW:
            parts["ssim"] = ssim(self.magnitudes, to_own_range(others.abs(), signed=False))
        return parts
