"""Superpixels of small faces: label maps [H,W] int64 of the segments 0 .. d-1 of an image, none of them empty.

Quickshift as the lime package calls it was made for photographs of hundreds of pixels; in a 48x48 face it finds one to
five segments. Three methods that suit small faces:

- ``slic``: k-means over position and colour (Achanta et al. 2012, TPAMI 34(11)), segments that follow edges;
- ``grid``: equal cells, the same for every face;
- ``parts``: the parts of an aligned face by a fixed template (``PARTS``), the same for every face, with names;
- ``areas``: these parts in ten groups (``AREAS``), few enough for all their 1,024 coalitions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fervis.errors import ConfigError
from fervis.models.masking import masks_from_segments

SEGMENTATIONS = ("slic", "grid", "parts", "areas")

# Strips from top to bottom, each with its lower edge; in a strip the parts from left to right, each with its right
# edge. Edges are in 48ths of the height and of the width, set on the mean face of FER2013, whose eyes are at 18/48 and
# whose mouth is at 38/48. A name in several strips is a single part; left and right are the image's.
PARTS: tuple[tuple[int, tuple[tuple[str, int], ...]], ...] = (
    (4, (("hair left", 16), ("hair middle", 32), ("hair right", 48))),
    (
        11,
        (
            ("edge left", 8),
            ("forehead left", 19),
            ("forehead middle", 29),
            ("forehead right", 40),
            ("edge right", 48),
        ),
    ),
    (15, (("temple left", 8), ("brow left", 20), ("between brows", 28), ("brow right", 40), ("temple right", 48))),
    (21, (("temple left", 8), ("eye left", 20), ("nose bridge", 28), ("eye right", 40), ("temple right", 48))),
    (26, (("side left", 8), ("below eye left", 19), ("nose", 29), ("below eye right", 40), ("side right", 48))),
    (34, (("side left", 8), ("cheek left", 18), ("nose", 30), ("cheek right", 40), ("side right", 48))),
    (
        43,
        (
            ("jaw left", 8),
            ("lower cheek left", 15),
            ("mouth left", 20),
            ("mouth middle", 28),
            ("mouth right", 33),
            ("lower cheek right", 40),
            ("jaw right", 48),
        ),
    ),
    (48, (("neck left", 14), ("chin", 34), ("neck right", 48))),
)
AREAS: dict[str, tuple[str, ...]] = {
    "forehead": ("forehead left", "forehead middle", "forehead right"),
    "brows": ("brow left", "between brows", "brow right"),
    "eye left": ("eye left",),
    "eye right": ("eye right",),
    "nose": ("nose bridge", "nose"),
    "cheek left": ("below eye left", "cheek left", "lower cheek left"),
    "cheek right": ("below eye right", "cheek right", "lower cheek right"),
    "mouth": ("mouth left", "mouth middle", "mouth right"),
    "chin": ("chin",),
    "outline": (
        *("hair left", "hair middle", "hair right", "edge left", "edge right", "temple left", "temple right"),
        *("side left", "side right", "jaw left", "jaw right", "neck left", "neck right"),
    ),
}
TEMPLATE = 48
SMOOTHING = 1.0  # pixels
PART_NAMES = tuple(dict.fromkeys(name for _, strip in PARTS for name, _ in strip))


def superpixels(image: Tensor, method: str, *, segments: int, compactness: float) -> Tensor:
    """Cut an image into superpixels.

    Args:
        image: [C,H,W] float of any range.
        method: ``slic``, ``grid``, ``parts`` or ``areas``.
        segments: approximate number of segments of ``slic`` and ``grid``; ``parts`` has as many as its template.
        compactness: of ``slic``, weight of position against colour; large values give nearly square segments.

    Returns:
        [H,W] int64 on the CPU, numbers 0 .. d-1.

    Raises:
        ConfigError: the image is so small or so uniform that it has only one segment.
    """
    height, width = image.shape[-2:]
    if method == "slic":
        labels = slic_segments(image, segments, compactness)
    elif method == "grid":
        labels = grid_cells(height, width, segments)
    else:
        labels = face_parts(height, width) if method == "parts" else face_areas(height, width)
    if not labels.any():
        raise ConfigError(
            f"explainer.superpixels={method}: it finds one superpixel in an image of {height}x{width} pixels, and two "
            "are needed to compare; expected more explainer.segments or another way (slic, grid, parts, areas)."
        )
    return labels


def slic_segments(image: Tensor, segments: int, compactness: float) -> Tensor:
    """Return [H,W] int64 the SLIC segments of a [C,H,W] image in CIELAB; grey is taken as RGB of equal channels.

    Values are stretched to [0, 1] first, so that ``compactness`` means the same for any range of pixels, and smoothed
    by a Gaussian of one pixel, since noisy pixels otherwise form tiny segments that are merged into large ones.
    """
    from skimage.segmentation import slic

    pixels = image.detach().cpu().double()
    pixels = pixels if len(pixels) == 3 else pixels.mean(0, keepdim=True).expand(3, -1, -1)
    low, high = pixels.min(), pixels.max()
    if low == high:  # nothing to stretch and no edge to follow
        return grid_cells(image.shape[-2], image.shape[-1], segments)
    stretched = ((pixels - low) / (high - low)).permute(1, 2, 0).numpy()
    labels = slic(stretched, n_segments=segments, compactness=compactness, sigma=SMOOTHING, start_label=0)
    return consecutive(torch.from_numpy(np.ascontiguousarray(labels, np.int64)))


def grid_cells(height: int, width: int, segments: int) -> Tensor:
    """Return [H,W] int64 about ``segments`` equal cells, as square as possible, numbered row by row."""
    rows = min(max(round((segments * height / width) ** 0.5), 1), height)
    columns = min(max(round(segments / rows), 1), width)
    down = torch.arange(height) * rows // height
    across = torch.arange(width) * columns // width
    return down[:, None] * columns + across


def face_parts(height: int, width: int) -> Tensor:
    """Return the template's parts: [H,W] int64, numbered in the order of ``PART_NAMES``.

    Images smaller than the template's finest part lose parts, and the others are renumbered.
    """
    return consecutive(_template(height, width))


def face_areas(height: int, width: int) -> Tensor:
    """Return the template's areas: [H,W] int64, numbered in the order of ``AREAS``; small images lose areas."""
    area_of = {part: number for number, parts in enumerate(AREAS.values()) for part in parts}
    return consecutive(torch.tensor([area_of[name] for name in PART_NAMES])[_template(height, width)])


def _template(height: int, width: int) -> Tensor:
    """Return [H,W] int64 the part, by its position in ``PART_NAMES``, in which the centre of each pixel lies."""
    template = torch.empty(TEMPLATE, TEMPLATE, dtype=torch.int64)
    top = 0
    for bottom, strip in PARTS:
        left = 0
        for name, right in strip:
            template[top:bottom, left:right] = PART_NAMES.index(name)
            left = right
        top = bottom
    down = ((torch.arange(height) + 0.5) * TEMPLATE / height).long()
    across = ((torch.arange(width) + 0.5) * TEMPLATE / width).long()
    return template[down][:, across]


def consecutive(labels: Tensor) -> Tensor:
    """Renumber segments to 0 .. d-1 in the order of their numbers."""
    return labels.unique(return_inverse=True)[1]


def segment_means(image: Tensor, segments: Tensor) -> Tensor:
    """Return [C,H,W] the mean of each pixel's superpixel per channel, in the image's dtype; summed in float64."""
    flat, index = image.flatten(1).double(), segments.flatten().to(image.device)
    sums = flat.new_zeros(len(flat), int(segments.max()) + 1).index_add_(1, index, flat)
    return (sums / index.bincount())[:, index].view_as(image).to(image.dtype)


@dataclass(frozen=True)
class Features:
    """The superpixels of one image as features that are shown or hidden.

    Attributes:
        segments: [H,W] int64, each pixel's superpixel, 0 .. d-1; on the CPU.
        fill: [C,H,W], what stands in for hidden pixels; on the image's device.
    """

    segments: Tensor
    fill: Tensor

    def __len__(self) -> int:
        return int(self.segments.max()) + 1

    def masks(self, samples: Tensor) -> Iterator[Tensor]:
        """Yield masks [s,H,W] on the fill's device from samples [S,d], which say how much of each feature is shown."""
        return masks_from_segments(samples.to(self.fill.device), self.segments.to(self.fill.device))

    def paint(self, values: Tensor) -> Tensor:
        """Return [T,H,W] maps of the values [d,T] of the features."""
        return values.T[:, self.segments]


def image_features(image: Tensor, method: str, *, segments: int, compactness: float, fill: Any) -> Features:
    """Cut an image [C,H,W] into superpixels that are hidden by their ``mean`` or by a pixel value."""
    labels = superpixels(image, method, segments=segments, compactness=compactness)
    return Features(labels, segment_means(image, labels) if fill == "mean" else torch.full_like(image, float(fill)))
