"""Detect frontal faces in pictures, and crop squares around them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from PIL import Image

LONGEST = 640
"""Pixels of the longer side at which a picture is searched: larger ones are shrunk to it, smaller ones stay."""

VOTES = 15
"""Windows that must agree on a face.

Measured: a sharp face gets 30 to 57. In eighteen pictures of textures, machines, plants and skies, at three sizes,
at most 10 agree on anything; the reflection in the helmet of ``skimage.data.astronaut()`` gets 14 to 20. With 15, 92 of
the 100 faces of ``skimage.data.lfw_subset()`` are detected, and none of its 100 patches without a face.
"""

_SCALE_STEP = 1.1
_AGREE = 0.4
_SAME_FACE = 0.5
_SHARE = 1 / 3


@dataclass(frozen=True)
class Box:
    """A square of a picture, in pixels from the picture's upper left corner; it may reach beyond the picture.

    Attributes:
        left: of the square's left edge.
        top: of the square's upper edge.
        side: the square's width and height.
        votes: how many of the detector's windows agree on it; 0 for a box that was not detected.
    """

    left: float
    top: float
    side: float
    votes: int = 0

    def grown(self, margin: float) -> Box:
        """Return the square around the same centre whose side is ``1 + margin`` times as long."""
        more = self.side * margin
        return Box(self.left - more / 2, self.top - more / 2, self.side + more, self.votes)


def detect_faces(picture: np.ndarray) -> list[Box]:
    """Find upright frontal faces with scikit-image's bundled cascade of multi-block local binary patterns.

    The cascade (Liao et al. 2007, doi:10.1007/978-3-540-74549-5_87) classifies square windows at every position and, in
    steps of 1.1, of every size from 24 pixels, in the picture and in its mirror image, since it seldom errs in both.
    Windows that overlap by an intersection over union above 0.4 vote for one face, whose box is their mean; a face
    needs ``VOTES`` of them, and a third of those that the picture's best has. Of two faces that share more than half of
    the smaller one the one with fewer votes is dropped.

    Faces turned to profile, tilted by more than some 15 degrees, or smaller than 24 pixels once the longer side has
    been shrunk to ``LONGEST``, are missed.

    Args:
        picture: [H,W] grey or [H,W,3] RGB, uint8, upright.

    Returns:
        The faces from left to right. The same picture gives the same boxes, for any number of threads.
    """
    grey = Image.fromarray(picture).convert("L")
    shrink = max(1.0, max(grey.size) / LONGEST)
    width, height = (max(1, round(length / shrink)) for length in grey.size)
    if (width, height) != grey.size:
        grey = grey.resize((width, height), Image.Resampling.BILINEAR)
    pixels = np.asarray(grey)
    mirrored = _windows(np.ascontiguousarray(pixels[:, ::-1]))
    mirrored[:, 0] = width - mirrored[:, 0] - mirrored[:, 2]
    merged = _merge(np.concatenate([_windows(pixels), mirrored]))
    boxes = [Box(*(face * shrink).tolist(), votes=votes) for face, votes in merged]
    return sorted(boxes, key=lambda box: (box.left, box.top))


def central_box(picture: np.ndarray) -> Box:
    """Return the largest square in the middle of a picture [H,W] or [H,W,3]."""
    height, width = picture.shape[:2]
    side = min(height, width)
    return Box((width - side) // 2, (height - side) // 2, side)


def crop(picture: np.ndarray, box: Box, size: int) -> np.ndarray:
    """Crop a square and resize it to ``size``: [size,size] or [size,size,3] uint8.

    Resampled by Lanczos' filter of three lobes, stretched over the pixels that each new one covers, so that shrinking
    does not alias; the box keeps its fractions of a pixel. Where it leaves the picture the picture's edge is repeated.
    A box of whole pixels whose side is ``size`` is cropped without resampling.

    Args:
        picture: [H,W] or [H,W,3] uint8.
        box: the square.
        size: pixels, at least 1.
    """
    height, width = picture.shape[:2]
    left, top = int(np.floor(box.left)), int(np.floor(box.top))
    right, bottom = int(np.ceil(box.left + box.side)), int(np.ceil(box.top + box.side))
    rows = np.arange(top, bottom).clip(0, height - 1)
    columns = np.arange(left, right).clip(0, width - 1)
    window = Image.fromarray(picture[rows[:, None], columns])
    x, y = box.left - left, box.top - top
    inside = (x, y, min(x + box.side, window.width), min(y + box.side, window.height))
    return np.asarray(window.resize((size, size), Image.Resampling.LANCZOS, box=inside))


@cache
def _cascade() -> Any:
    # Imported here: it takes a second, which only runs that detect faces should pay.
    from skimage.data import lbp_frontal_face_cascade_filename
    from skimage.feature import Cascade

    return Cascade(lbp_frontal_face_cascade_filename())


def _windows(grey: np.ndarray) -> np.ndarray:
    """Return every window [n,3] (left, top, side) that the cascade takes for a face, none merged."""
    cascade = _cascade()
    smallest, longest = int(cascade.window_width), max(grey.shape)
    if min(grey.shape) < smallest:
        return np.empty((0, 3))
    windows = cascade.detect_multi_scale(
        img=grey,
        scale_factor=_SCALE_STEP,
        step_ratio=1,
        min_size=(smallest, smallest),
        max_size=(longest, longest),
        min_neighbor_number=1,
        intersection_score_threshold=2.0,  # no two windows overlap by more than 1, so scikit-image merges none
    )
    return np.array([(window["c"], window["r"], window["width"]) for window in windows], float).reshape(-1, 3)


def _merge(windows: np.ndarray) -> list[tuple[np.ndarray, int]]:
    """Return the mean window (left, top, side) and the votes of each face, most votes first."""
    windows = windows[np.lexsort(windows.T)]
    agree = _overlap(windows, windows, union=True) > _AGREE
    faces: list[tuple[np.ndarray, int]] = []
    while len(windows):
        votes = agree.sum(1)
        best = int(votes.argmax())
        if votes[best] < max(VOTES, faces[0][1] * _SHARE if faces else 0):
            break
        members = agree[best]
        face = windows[members].mean(0)
        if all(_overlap(face[None], other[None], union=False).item() <= _SAME_FACE for other, _ in faces):
            faces.append((face, int(votes[best])))
        windows, agree = windows[~members], agree[~members][:, ~members]
    return faces


def _overlap(a: np.ndarray, b: np.ndarray, *, union: bool) -> np.ndarray:
    """Compute the [n,m] intersection of squares [n,3] and [m,3], over their union or over the smaller one."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, :2] + a[:, None, 2:], b[None, :, :2] + b[None, :, 2:])
    shared = (high - low).clip(0).prod(2)
    areas, others = a[:, None, 2] ** 2, b[None, :, 2] ** 2
    return shared / (areas + others - shared if union else np.minimum(areas, others))
