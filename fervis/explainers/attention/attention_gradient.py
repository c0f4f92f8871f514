"""Gradient-weighted attention rollout: the attention that raises a target, through all layers (Chefer et al. 2021).

Of every attention matrix ``A`` the heads are averaged with the target's gradient as their weight, and only what
raises the target stays: ``Ā = mean over heads of (∂ logit / ∂ A * A)⁺``. With ``R = I`` at first, every layer adds
what flows through it, ``R ← R + Ā R`` (arXiv:2103.15679, equations 5 and 6). The map is the class token's row of ``R``
without the identity.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from fervis.core.knobs import Whole
from fervis.core.layers import INPUT
from fervis.core.results import HeatMaps, LayerMaps
from fervis.explainers.attention.matrices import at_pixels, attention_pass, token_grid
from fervis.models.batch import Batch


@dataclass
class AttentionGradient:
    """Add up the attention of all layers, weighted by a target's gradient.

    Attributes:
        first: number of the first attention that counts, from 1.
    """

    first: Annotated[int, Whole(1)] = 1
    result: ClassVar = HeatMaps
    scope: ClassVar = "image"
    takes: ClassVar = frozenset({"pixels", "classes"})
    default_layer: ClassVar = INPUT

    def check_network(self, model: nn.Module, image: Tensor) -> None:
        """Refuse a network without attention, before it is trained."""
        token_grid(model, image, "attention_gradient")

    def explain(self, batch: Batch) -> LayerMaps:
        """Explain all targets of a batch in one forward pass and a backward pass per target."""
        unit = "Σ (∂ logit / ∂ attention × attention)⁺ at the {layer}'s patch"
        return at_pixels(self.patch_maps(batch), batch, unit)

    def patch_maps(self, batch: Batch) -> Tensor:
        """Return the maps [N,T,h,w] of the patches."""
        passed = attention_pass(batch, "attention_gradient", self.first, gradients=True)
        maps = []
        for number in range(batch.targets.count):
            more = number < batch.targets.count - 1
            with torch.inference_mode(False):
                gradients = torch.autograd.grad(passed.scores[:, number].sum(), passed.matrices, retain_graph=more)
            rows = passed.readout.expand(len(batch), 1, -1)
            added = torch.zeros_like(rows)  # rows without the identity, not by a difference that would cost digits
            # R = (I + Ā_L) ... (I + Ā_1), of which one row is wanted: it is multiplied from the last layer back.
            for matrices, gradient in zip(reversed(passed.matrices), reversed(gradients), strict=True):
                flow = rows @ (gradient * matrices.detach()).relu().mean(1).float()
                rows, added = rows + flow, added + flow
            maps.append(passed.patches(added[:, 0]))
        return torch.stack(maps, 1)
