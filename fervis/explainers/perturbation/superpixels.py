"""Superpixels of small faces: label maps [H,W] int64 of the segments 0 .. d-1 of an image, none of them empty.

Quickshift as the lime package calls it was made for photographs of hundreds of pixels; in a 48x48 face it finds one to
five segments. Three methods that suit small faces:

- ``slic``: k-means over position and colour (Achanta et al. 2012, TPAMI 34(11)), segments that follow edges;
- ``grid``: equal cells, the same for every face;
- ``parts``: the parts of an aligned face by a fixed template (``PARTS``), the same for every face, with names.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from fervis.errors import ConfigError

SEGMENTATIONS = ("slic", "grid", "parts")

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
TEMPLATE = 48
SMOOTHING = 1.0  # pixels
PART_NAMES = tuple(dict.fromkeys(name for _, strip in PARTS for name, _ in strip))


def superpixels(image: Tensor, method: str, *, segments: int, compactness: float) -> Tensor:
    """Cut an image into superpixels.

    Args:
        image: [C,H,W] float of any range.
        method: ``slic``, ``grid`` or ``parts``.
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
    else:
        labels = grid_cells(height, width, segments) if method == "grid" else face_parts(height, width)
    if not labels.any():
        raise ConfigError(
            f"explainer.superpixels={method}: it finds one superpixel in an image of {height}x{width} pixels, and LIME "
            "needs two to compare; expected more explainer.segments or another way (slic, grid, parts)."
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

    A pixel belongs to the part in which its centre lies. Images smaller than the template's finest part lose parts, and
    the others are renumbered.
    """
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
    return consecutive(template[down][:, across])


def consecutive(labels: Tensor) -> Tensor:
    """Renumber segments to 0 .. d-1 in the order of their numbers."""
    return labels.unique(return_inverse=True)[1]


def segment_means(image: Tensor, segments: Tensor) -> Tensor:
    """Return [C,H,W] the mean of each pixel's superpixel per channel, in the image's dtype; summed in float64."""
    flat, index = image.flatten(1).double(), segments.flatten().to(image.device)
    sums = flat.new_zeros(len(flat), int(segments.max()) + 1).index_add_(1, index, flat)
    return (sums / index.bincount())[:, index].view_as(image).to(image.dtype)
