"""Guided Grad-CAM: guided backpropagation weighted by Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391).

The product of the guided gradient at the pixels, which is fine but nearly the same for every class, and of Grad-CAM at
a layer, which depends on the class but is coarse, resized to the image by bilinear interpolation as in the paper. A map
of a layer has the size of the image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from fervis.core.knobs import Choice
from fervis.core.layers import resize_maps
from fervis.core.results import HeatMaps, LayerMaps
from fervis.explainers.gradient.passes import OVER_CHANNELS, maps_of_targets, pixel_layer
from fervis.models.batch import Batch
from fervis.models.rectifiers import RectifierRules


@dataclass
class GuidedGradCam:
    """Multiply the guided gradient at the pixels by Grad-CAM at each layer.

    Attributes:
        channels: what a map shows of the image's channels: the largest ``magnitude``, or the ``sum``, which has a sign.
    """

    channels: Annotated[str, Choice(*OVER_CHANNELS)] = "magnitude"
    result: ClassVar = HeatMaps
    scope: ClassVar = "image"
    takes: ClassVar = frozenset({"layers", "classes", "filters"})
    default_layer: ClassVar = "last_conv"

    def explain(self, batch: Batch) -> LayerMaps:
        """Explain all layers and targets in two forward passes (guided, plain) and two backward passes per target."""
        pixels = pixel_layer(batch)
        passes = batch.gradients(RectifierRules("guided", "guided_gradcam"), (pixels,))
        guided = maps_of_targets(passes, lambda _, gradient: OVER_CHANNELS[self.channels](gradient))[pixels.name]
        size = (int(batch.images.shape[2]), int(batch.images.shape[3]))
        cams = maps_of_targets(batch.gradients(), _grad_cam)
        maps = {name: guided * _resized(cam, size) for name, cam in cams.items()}
        return LayerMaps(maps, "guided ∂ logit / ∂ pixel × Grad-CAM at {layer}", self.channels == "sum")


def _grad_cam(activations: Tensor, gradients: Tensor) -> Tensor:
    return torch.einsum("nc,nchw->nhw", gradients.mean((2, 3)), activations).relu()


def _resized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Bring maps [N,T,h,w] to a size."""
    return resize_maps(maps.flatten(0, 1), size).unflatten(0, maps.shape[:2])
