"""RISE: the mean of random masks, weighted by the network's output for the image under each (arXiv:1806.07421).

Petsiuk, Das and Saenko 2018: a grid of zeros and ones is enlarged to a smooth mask and shifted by a random part of a
cell; the map is S = 1/(N p) Σ f(x under M) M over N masks M, whose cells are shown with the probability p. The masks
are those of the official code. Every value is a mean over independent masks, so that its standard error is known.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Generator, Tensor

from fervis.core.knobs import Above, Choice, Range, Whole
from fervis.core.layers import INPUT
from fervis.core.results import HeatMaps, LayerMaps
from fervis.explainers.perturbation.image_maps import (
    ImageMaps,
    bf16_difference,
    output_name,
    relative_error,
    stack_images,
)
from fervis.models.batch import Batch
from fervis.models.masking import MASKS_PER_CHUNK, OUTPUTS, PASS_PRECISIONS, MaskedPasses, masked_passes
from fervis.system.progress import progress


@dataclass
class Rise:
    """Average random masks, weighted by the output of the image under each.

    Attributes:
        samples: masks, the same for every image.
        grid: cells of a mask along a side.
        shown: probability p that a cell is shown.
        fill: value of hidden pixels. The official code hides by 0 after normalization, the mean of the data.
        output: what weighs a mask: a class's ``probability`` or its ``logit``.
        error_target: stop for an image when the root mean square of the standard errors is below this part of the range
            of each of its maps; None to use all samples.
        precision: of the network's passes: ``fp32``, or ``bf16``, which is faster and less exact.
    """

    samples: Annotated[int, Whole(2, 10_000_000)] = 4000
    grid: Annotated[int, Whole(1)] = 7
    shown: Annotated[float, Range(0, 1, open_low=True, open_high=True)] = 0.5
    fill: Annotated[float, Range(0, 1)] = 0.5
    output: Annotated[str, Choice(*OUTPUTS)] = "probability"
    error_target: Annotated[float | None, Above(0)] = None
    precision: Annotated[str, Choice(*PASS_PRECISIONS)] = "fp32"
    result: ClassVar = HeatMaps
    scope: ClassVar = "image"
    takes: ClassVar = frozenset({"pixels", "classes", "filters"})
    default_layer: ClassVar = INPUT

    def explain(self, batch: Batch) -> LayerMaps:
        """Explain each image for all its targets with the same masked passes.

        The scores of each map are ``error``, the root mean square of the standard errors, as part of its range, and
        ``samples``, the number of masks.
        """
        generator = batch.generator("explainer/rise")
        height, width = batch.images.shape[2:]
        fill = torch.tensor(self.fill, dtype=batch.images.dtype, device=batch.images.device)[None, None, None]
        means: list[_MaskMeans] = []
        chunks = progress(_chunk_sizes(self.samples), "rise", "chunk of masks", quiet=batch.quiet)
        with masked_passes(
            batch.model, batch.images, batch.targets, output=self.output, precision=self.precision
        ) as passes:
            for size in chunks:
                masks = rise_masks(size, height, width, self.grid, self.shown, generator)
                for number, image in enumerate(batch.images):
                    if number == len(means):
                        means.append(_MaskMeans(passes, image, masks, fill, number, self.shown))
                    if not self._is_exact(means[number]):
                        means[number].add(passes, image, masks, fill)
        unit = f"mean {output_name(self.output, batch.targets)} under masks that show the pixel"
        return stack_images([mean.maps() for mean in means], unit, batch.images.device)

    def _is_exact(self, means: _MaskMeans) -> bool:
        return self.error_target is not None and means.count > 1 and bool((means.error() < self.error_target).all())


class _MaskMeans:
    """The running means of one image: of the weighted masks, and of their squares; float64 [T,H,W]."""

    def __init__(
        self, passes: MaskedPasses, image: Tensor, masks: Tensor, fill: Tensor, number: int, shown: float
    ) -> None:
        values = passes(image, masks[:1], fill)
        self._columns = passes.columns(number, values)
        self._difference = bf16_difference(passes, image, masks, fill, self._columns)
        self._shown, self.count = shown, 0
        self._sum = torch.zeros(len(self._columns), *masks.shape[1:], dtype=torch.float64)
        self._squares = self._sum.clone()

    def add(self, passes: MaskedPasses, image: Tensor, masks: Tensor, fill: Tensor) -> None:
        """Score the image under further masks [S,H,W]."""
        values = passes(image, masks.to(image.device), fill)[:, self._columns].double().T
        flat = masks.flatten(1).double()
        self._sum += (values @ flat).view_as(self._sum)
        self._squares += (values**2 @ flat**2).view_as(self._sum)
        self.count += len(masks)

    def means_and_errors(self) -> tuple[Tensor, Tensor]:
        """Return the map and its standard errors, [T,H,W]."""
        mean = self._sum / self.count
        variance = (self._squares / self.count - mean**2).clamp(min=0) / max(self.count - 1, 1)
        return mean / self._shown, variance.sqrt() / self._shown

    def error(self) -> Tensor:
        """Return [T] the root mean square of the standard errors, as part of the range of the map."""
        return relative_error(*self.means_and_errors())

    def maps(self) -> ImageMaps:
        """Return the maps with their errors and scores."""
        maps, errors = self.means_and_errors()
        scores = {"error": self.error(), "samples": torch.full((len(maps),), self.count)}
        return ImageMaps(maps, scores | self._difference, errors)


def _chunk_sizes(samples: int) -> list[int]:
    whole, rest = divmod(samples, MASKS_PER_CHUNK)
    return [MASKS_PER_CHUNK] * whole + [rest] * (rest > 0)


def rise_masks(count: int, height: int, width: int, grid: int, shown: float, generator: Generator) -> Tensor:
    """Draw masks [N,H,W] float32 as the official code does.

    A grid of ``grid`` x ``grid`` cells, each 1 with the probability ``shown``, is enlarged bilinearly to (grid + 1)
    cells a side, each of ceil(H / grid) x ceil(W / grid) pixels, from which H x W pixels are cut at an offset of 0 to
    below one cell.
    """
    cells = (torch.rand(count, grid, grid, generator=generator) < shown).float()
    enlarged = cells
    for dim, length in ((1, height), (2, width)):
        cell = math.ceil(length / grid)
        rows = enlargement(grid, (grid + 1) * cell)
        offsets = torch.randint(cell, (count,), generator=generator)
        cut = rows[offsets[:, None] + torch.arange(length)]  # [N,length,grid]
        enlarged = torch.einsum("nlg,ngw->nlw" if dim == 1 else "nwg,nlg->nlw", cut, enlarged)
    return enlarged


def enlargement(cells: int, length: int) -> Tensor:
    """Return [length,cells], by which a row of cells is enlarged linearly; beyond the outermost centres it is mirrored.

    It is scikit-image's ``resize`` of first order in its mode ``reflect``.
    """
    position = (torch.arange(length) + 0.5) * cells / length - 0.5
    below = position.floor()
    matrix = torch.zeros(length, cells)
    for index, weight in ((below, 1 - (position - below)), (below + 1, position - below)):
        mirrored = (cells - 1 - (cells - 1 - index.abs()).abs()).clamp(0).long()
        matrix.scatter_add_(1, mirrored[:, None], weight[:, None])
    return matrix
