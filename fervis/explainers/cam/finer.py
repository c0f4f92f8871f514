"""Finer-CAM: evidence for a class against similar classes (Zhang et al. 2025, arXiv:2501.11309).

A CAM of the contrast y - γ mean(y_d) instead of the logit y, where d are the classes whose logits are nearest to the
target's, or given ones: evidence that they share cancels. Gradients are linear in the contrast, so one backward pass
per target explains it, for any number of contrasted classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from fervis.core.knobs import AtLeast, Choice, ListOf, Text, Whole
from fervis.core.results import HeatMaps, LayerMaps
from fervis.explainers.cam.contrast import SIMILAR, class_numbers, contrast_batch
from fervis.explainers.cam.weighting import MAPS_OF_PASS
from fervis.models.batch import Batch


@dataclass
class FinerCam:
    """Compute a CAM of the contrast of each target with other classes, at any layers.

    Attributes:
        against: the other classes, by name or number; ``similar``: those whose logits are nearest to the target's.
        similar: how many of the most similar classes.
        strength: the γ of the contrast; at 0 it is the CAM of the class alone.
        method: the CAM, of those of one gradient.
        rectify: clamp negative values to 0, as the paper does; otherwise evidence for the other classes is negative.
    """

    against: Annotated[
        Any, Choice(SIMILAR) | Text("a class") | Whole(0) | ListOf(Text() | Whole(0), "a list of different classes")
    ] = SIMILAR
    similar: Annotated[int, Whole(1)] = 3
    strength: Annotated[float, AtLeast(0)] = 0.6
    method: Annotated[str, Choice(*MAPS_OF_PASS)] = "gradcam"
    rectify: bool = True
    result: ClassVar = HeatMaps
    scope: ClassVar = "image"
    takes: ClassVar = frozenset({"layers", "classes"})
    default_layer: ClassVar = "last_conv"

    def explain(self, batch: Batch) -> LayerMaps:
        """Explain all layers and targets of a batch in one forward pass and a backward pass per target."""
        references = class_numbers(self.against, batch.classes)
        map_of_pass = MAPS_OF_PASS[self.method]
        maps: dict[str, list[Tensor]] = {}
        contrasts = []
        for target_pass in contrast_batch(batch, references, self.similar, self.strength).gradients():
            contrasts.append(target_pass.scores)
            for name, gradients in target_pass.gradients.items():
                values = map_of_pass(target_pass.activations[name], gradients)
                maps.setdefault(name, []).append(values.relu() if self.rectify else values)
        stacked = {name: torch.stack(parts, 1) for name, parts in maps.items()}
        scores = {"contrast": torch.stack(contrasts, 1)}
        return LayerMaps(stacked, f"{self.method} of the contrast at {{layer}}", signed=not self.rectify, scores=scores)
