"""Eigen-CAM: the first principal component of a layer's output (Muhammad and Yeasin 2020, arXiv:2008.00299).

An image's output is a matrix of positions by channels; the map is its projection on its first right singular vector.
It does not depend on the target: it shows where the layer responds most. The sign of a singular vector is arbitrary; it
gets the one with which the strongest value of the map is positive (Chung and Ying 2025, equation 13), so that the order
of the channels does not matter. With ``gradient`` the output is multiplied by the target's gradient first
(Eigen-Grad-CAM).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fervis.core.results import HeatMaps, LayerMaps
from fervis.models.batch import Batch
from fervis.models.hooks import outputs_at


@dataclass
class EigenCam:
    """Project a layer's output on its first principal component.

    Attributes:
        gradient: multiply the output by the target's gradient first.
        center: subtract each channel's mean first.
        rectify: cut negative values off.
    """

    gradient: bool = False
    center: bool = False
    rectify: bool = True
    result: ClassVar = HeatMaps
    scope: ClassVar = "image"
    takes: ClassVar = frozenset({"layers"})
    default_layer: ClassVar = "last_map"

    def explain(self, batch: Batch) -> LayerMaps:
        """Explain all layers in one forward pass; with ``gradient``, all targets by a backward pass each."""
        maps: dict[str, list[Tensor]] = {}
        if self.gradient:
            for target_pass in batch.gradients():
                for name, gradients in target_pass.gradients.items():
                    maps.setdefault(name, []).append(self._map(gradients * target_pass.activations[name]))
        else:
            for layer, output in zip(batch.layers, outputs_at(batch.model, batch.images, batch.layers), strict=True):
                maps[layer.name] = [self._map(output)] * batch.targets.count
        stacked = {name: torch.stack(parts, 1) for name, parts in maps.items()}
        what = "gradient × activation" if self.gradient else "activation"
        return LayerMaps(stacked, f"first component of {what} at {{layer}}", signed=not self.rectify)

    def _map(self, values: Tensor) -> Tensor:
        projection = first_component(values, self.center)
        return projection.relu() if self.rectify else projection


def first_component(values: Tensor, center: bool = False) -> Tensor:
    """Project [N,c,h,w] values on their first right singular vector over channels, image by image: [N,h,w].

    It is an eigenvector of the smaller of the two products of the matrix with itself, channels by channels or positions
    by positions, in double precision.

    Args:
        values: an image's rows are positions, its columns channels.
        center: subtract the mean of each column.
    """
    matrix = values.detach().flatten(2).double()  # [N,c,p]
    if center:
        matrix = matrix - matrix.mean(2, keepdim=True)
    if matrix.shape[1] <= matrix.shape[2]:
        vector = torch.linalg.eigh(matrix @ matrix.mT)[1][:, :, -1]  # [N,c]
        projection = torch.einsum("nc,ncp->np", vector, matrix)
    else:
        squares, vectors = torch.linalg.eigh(matrix.mT @ matrix)
        projection = vectors[:, :, -1] * squares[:, -1:].clamp(min=0).sqrt()
    strongest = projection.gather(1, projection.abs().argmax(1, keepdim=True))
    return (projection * strongest.sign()).unflatten(1, values.shape[2:]).to(values.dtype)
