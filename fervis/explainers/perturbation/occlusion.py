"""Occlusion: decrease of the target when a patch of the image is hidden (Zeiler and Fergus 2014, arXiv:1311.2901).

A window slides over the image; at each position its pixels are set to the fill value, and the decrease of the target is
measured. The value of a pixel is the mean decrease over the windows that hide it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from fervis.core.knobs import Choice, Range, Whole
from fervis.core.layers import INPUT
from fervis.core.results import HeatMaps, LayerMaps
from fervis.errors import ConfigError
from fervis.explainers.perturbation.image_maps import ImageMaps, bf16_difference, explain_images, stack_images
from fervis.models.batch import Batch
from fervis.models.masking import OUTPUTS, PASS_PRECISIONS, MaskedPasses


@dataclass
class Occlusion:
    """Slide a window over the image and measure how much the target falls.

    Attributes:
        window: side of the window in pixels.
        stride: step of the window in pixels; at most the window, so that every pixel is hidden once.
        fill: value of hidden pixels.
        output: what is measured of a class: its ``logit`` or its ``probability``.
        precision: of the network's passes: ``fp32``, or ``bf16``, which is faster and less exact.
    """

    window: Annotated[int, Whole(1)] = 8
    stride: Annotated[int, Whole(1)] = 4
    fill: Annotated[float, Range(0, 1)] = 0.5
    output: Annotated[str, Choice(*OUTPUTS)] = "logit"
    precision: Annotated[str, Choice(*PASS_PRECISIONS)] = "fp32"
    result: ClassVar = HeatMaps
    scope: ClassVar = "image"
    takes: ClassVar = frozenset({"pixels", "classes", "filters"})
    default_layer: ClassVar = INPUT

    def __post_init__(self) -> None:
        if self.stride > self.window >= 1:
            raise ConfigError(f"explainer.stride={self.stride}: expected at most explainer.window={self.window}.")

    def explain(self, batch: Batch) -> LayerMaps:
        """Explain each image for all its targets with the same masked passes."""
        height, width = batch.images.shape[2:]
        masks = window_masks(height, width, self.window, self.stride)
        hidden = 1 - masks
        counts = hidden.sum(0)
        fill = torch.tensor(self.fill, dtype=batch.images.dtype, device=batch.images.device)[None, None, None]
        shown = torch.cat([torch.ones(1, height, width), masks])

        def explain(passes: MaskedPasses, number: int) -> ImageMaps:
            image = batch.images[number]
            values = passes(image, shown, fill)
            columns = passes.columns(number, values)
            falls = values[:1, columns] - values[1:, columns]
            maps = torch.einsum("mt,mhw->thw", falls, hidden) / counts
            return ImageMaps(maps, bf16_difference(passes, image, shown, fill, columns))

        maps = explain_images(batch, "occlusion", self.output, self.precision, explain)
        what = self.output if batch.targets.classes is not None else "filter"
        return stack_images(maps, f"mean fall of the {what} where the window hides", batch.images.device)


def window_masks(height: int, width: int, window: int, stride: int) -> Tensor:
    """Return masks [M,H,W] float32 that are 0 in the window, at one position each, and 1 elsewhere.

    Windows begin at 0, ``stride``, ... until every pixel is hidden; those that reach over the border are clipped.
    """
    rows, columns = (_starts(length, window, stride) for length in (height, width))
    masks = torch.ones(len(rows) * len(columns), height, width)
    for number, (top, left) in enumerate((top, left) for top in rows for left in columns):
        masks[number, top : top + window, left : left + window] = 0
    return masks


def _starts(length: int, window: int, stride: int) -> range:
    """Return the positions along a side at which windows begin."""
    return range(0, max(0, length - window) + stride, stride)
