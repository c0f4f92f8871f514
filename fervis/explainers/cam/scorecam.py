"""Score-CAM: channels weighted by the score of the image that each lets through (Wang et al. 2020, arXiv:1910.01279).

A channel, resized to the image and brought to [0, 1], is a mask that the image is multiplied by; the weights are the
softmax over the channels of the scores of the masked images; the map is the rectified weighted sum of the channels
(algorithm 1). No gradient is used. A channel of one value masks nothing in particular and takes no part.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from fervis.core.knobs import Choice
from fervis.core.layers import resize_maps
from fervis.core.results import HeatMaps, LayerMaps
from fervis.models.batch import Batch
from fervis.models.hooks import outputs_at
from fervis.models.masking import OUTPUTS, PASS_PRECISIONS
from fervis.system.progress import progress


@dataclass
class ScoreCam:
    """Compute Score-CAM at any layers; all targets are read from the same masked images.

    Attributes:
        output: the score of a masked image: the class's ``logit`` or its ``probability``.
        rectify: cut negative values off, as the paper does.
        precision: of the masked images' passes: ``fp32``, or ``bf16``, which is faster and less exact.
    """

    output: Annotated[str, Choice(*OUTPUTS)] = "logit"
    rectify: bool = True
    precision: Annotated[str, Choice(*PASS_PRECISIONS)] = "fp32"
    result: ClassVar = HeatMaps
    scope: ClassVar = "image"
    takes: ClassVar = frozenset({"layers", "classes"})
    default_layer: ClassVar = "last_map"

    def explain(self, batch: Batch) -> LayerMaps:
        """Explain each layer by one pass of every channel of every image."""
        outputs = outputs_at(batch.model, batch.images, batch.layers)
        maps = {
            layer.name: self._maps(batch, activations) for layer, activations in zip(batch.layers, outputs, strict=True)
        }
        return LayerMaps(maps, "Σ score-weighted activation at {layer}", signed=not self.rectify)

    def _maps(self, batch: Batch, activations: Tensor) -> Tensor:
        """Return the maps [N,T,h,w] of one layer's activations [N,c,h,w]."""
        pairs = (activations.amax((2, 3)) > activations.amin((2, 3))).nonzero()  # [P,2], image and channel
        images, channels = pairs.unbind(1)
        scores = activations.new_full((*activations.shape[:2], batch.targets.count), -torch.inf)
        if len(pairs):
            chunks = progress(pairs.split(batch.at_once), "scorecam", "batch", quiet=batch.quiet)
            logits = batch.score(masked_images(batch.images, activations, chunks), self.precision)
            outputs = logits.softmax(1) if self.output == "probability" else logits
            scores[images, channels] = batch.targets[images.cpu()].scores(outputs, {}).to(scores)
        # Where no channel takes part, the softmax of nothing is NaN and the map is 0.
        maps = torch.einsum("nct,nchw->nthw", scores.softmax(1).nan_to_num(0), activations)
        return maps.relu() if self.rectify else maps


def masked_images(images: Tensor, activations: Tensor, pairs: Iterable[Tensor]) -> Iterator[Tensor]:
    """Yield each image times a channel of its activations, resized to it and then brought to [0, 1].

    Args:
        images: [N,C,H,W].
        activations: [N,c,h,w].
        pairs: chunks [p,2] int64, numbers of an image and of a channel that is not constant.

    Yields:
        [p,C,H,W] for each chunk.
    """
    height, width = images.shape[2:]
    for some in pairs:
        shown, channels = some.unbind(1)
        maps = resize_maps(activations[shown, channels], (int(height), int(width)))
        low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
        masks = (maps - low) / (high - low)
        yield images[shown] * masks[:, None]
