"""Attention rollout: how much of each patch reaches the class token through all layers (Abnar and Zuidema 2020).

Every layer passes on half of each token and half of what it attends to: ``Â = (A + I) / 2``, with the heads fused to
one matrix ``A``, its rows normalized to sum 1. The product ``Â_L ... Â_1`` (arXiv:2005.00928) says which part of a last
token comes from each first one; the map is the row of the class token. It is the same for all targets: attention does
not know them. The values of all tokens, that of the class token itself included, sum to 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from fervis.core.knobs import Choice, Range, Whole
from fervis.core.layers import INPUT
from fervis.core.results import HeatMaps, LayerMaps
from fervis.explainers.attention.matrices import at_pixels, attention_pass, token_grid
from fervis.models.batch import Batch


@dataclass
class AttentionRollout:
    """Multiply the attention matrices of all layers.

    Attributes:
        heads: how a layer's heads become one matrix: their mean (the paper's), smallest or largest entry.
        discard: share of a matrix's entries, the smallest, that become 0 before the identity is added; 0 in the paper.
        first: number of the first attention that counts, from 1.
    """

    heads: Annotated[str, Choice("mean", "min", "max")] = "mean"
    discard: Annotated[float, Range(0, 1, open_high=True)] = 0.0
    first: Annotated[int, Whole(1)] = 1
    result: ClassVar = HeatMaps
    scope: ClassVar = "image"
    takes: ClassVar = frozenset({"pixels"})
    default_layer: ClassVar = INPUT

    def check_network(self, model: nn.Module, image: Tensor) -> None:
        """Refuse a network without attention, before it is trained."""
        token_grid(model, image, "attention_rollout")

    def explain(self, batch: Batch) -> LayerMaps:
        """Explain a batch in one forward pass; every target gets the same map."""
        maps = self.patch_maps(batch)[:, None].repeat(1, batch.targets.count, 1, 1)
        return at_pixels(maps, batch, "share of the {layer} that reaches the classifier's token")

    def patch_maps(self, batch: Batch) -> Tensor:
        """Return the maps [N,h,w] of the patches."""
        passed = attention_pass(batch, "attention_rollout", self.first)
        rows = passed.readout.expand(len(batch), 1, -1)
        # From the last layer back: a row times a matrix each time, instead of the product of all matrices.
        for matrices in reversed(passed.matrices):
            mixed = self._fused(matrices.float()) + torch.eye(matrices.shape[-1], device=matrices.device)
            rows = rows @ (mixed / mixed.sum(-1, keepdim=True))
        return passed.patches(rows[:, 0])

    def _fused(self, matrices: Tensor) -> Tensor:
        """Return one matrix [N,T,T] of the heads' [N,heads,T,T], without its smallest entries."""
        fused = matrices.mean(1) if self.heads == "mean" else getattr(matrices, f"a{self.heads}")(1)
        flat = fused.flatten(1)
        dropped = flat.topk(int(self.discard * flat.shape[1]), largest=False).indices
        return flat.scatter(1, dropped, 0).view_as(fused)
