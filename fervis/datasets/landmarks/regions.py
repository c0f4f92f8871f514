"""Regions of faces as masks: polygons between landmarks, of the codebook that is data (``codebook.toml``)."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fervis.core.faces import Truth
from fervis.datasets.landmarks.compact import LANDMARK_SIDE, image_keys, shipped_landmarks

FACE_REGIONS = (
    *("background", "hair", "cheek_outline", "forehead", "cheeks", "chin"),
    *("mouth", "below_eyes", "nose", "glabella", "eyes", "brows"),
)
"""In the order in which they are painted."""

OUTSIDE_FACE = ("background", "hair")

PLURAL_REGIONS = ("cheeks", "eyes", "brows")
_REGION_WORDS = {"below_eyes": "skin below the eyes", "cheek_outline": "outline of the cheeks"}

EXPRESSIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise")
"""Those of which the codebook has action units."""


def region_words(name: str) -> str:
    """Return a region's name in words.

    Example:
        >>> region_words("below_eyes")
        'skin below the eyes'
    """
    return _REGION_WORDS.get(name, name)


@dataclass(frozen=True)
class FaceRegions:
    """Regions of N faces, of which every pixel is in exactly one.

    Attributes:
        masks: [N,R,H,W] bool, R as ``FACE_REGIONS``; a region that the source does not define is empty.
        known: [N] bool, whether the regions are of this very face; else they are of the mean face of FER2013.
        names: the regions that the source defines, the same for all faces.
    """

    masks: Tensor
    known: Tensor
    names: tuple[str, ...] = FACE_REGIONS

    @property
    def face(self) -> Tensor:
        """Return [N,H,W] bool, what is neither hair nor background."""
        return ~self.masks[:, [FACE_REGIONS.index(name) for name in OUTSIDE_FACE]].any(1)

    def union(self, names: Sequence[str]) -> Tensor:
        """Return [N,H,W] bool, the pixels of any of these regions."""
        return self.masks[:, [FACE_REGIONS.index(name) for name in names]].any(1)

    def action_units(self, units: Sequence[str]) -> Tensor:
        """Return [N,H,W] bool, where any of these action units shows by the codebook; empty for none."""
        return self.union([name for unit in units for name in read_codebook()["action_units"][unit]])


def face_regions(images: Tensor, truth: Truth | None = None) -> FaceRegions:
    """Return the regions of images [N,C,H,W] in [0, 1] or of bytes, on the CPU.

    Drawn faces know their own, if they tell at least two of the face's regions apart. An image of FER2013, in whatever
    layout it came, has landmarks by its hash. Any other image gets the regions of FER2013's mean face, stretched to its
    size: right only for faces cropped like those.
    """
    names = tuple(name for name in FACE_REGIONS if truth is not None and name in truth.region_names)
    if truth is not None and len(set(names) - set(OUTSIDE_FACE)) > 1:
        return FaceRegions(_drawn_regions(truth), torch.ones(len(images), dtype=torch.bool), names)
    points, known = landmarks_of(images)
    height, width = images.shape[2:]
    return FaceRegions(region_masks(points, int(height), int(width)), known)


def landmarks_of(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return landmarks [N,468,2] in pixels of images [N,C,H,W], and whether they are of this very face [N]."""
    landmarks, size = shipped_landmarks(), tuple(images.shape[2:])
    scale = torch.tensor([size[1], size[0]]) / LANDMARK_SIDE
    points = torch.from_numpy(landmarks.mean).repeat(len(images), 1, 1) * scale
    positions = np.full(len(images), -1)
    grey = (images == images[:, :1]).all(1).flatten(1).all(1).cpu()
    if size == (LANDMARK_SIDE, LANDMARK_SIDE) and grey.any():
        found = landmarks.positions(image_keys(_image_bytes(images[:, 0].cpu())))
        positions = np.where(grey.numpy(), found, -1)
    known = torch.from_numpy(positions >= 0)
    points[known] = torch.from_numpy(landmarks.decode(positions[positions >= 0]))
    return points, known


def region_masks(points: Tensor, height: int, width: int) -> Tensor:
    """Paint the regions between landmarks [N,468,2] in pixels as masks [N,R,H,W] that cover every pixel once."""
    codebook = read_codebook()
    labels = _above_line(points[:, codebook["temples"]["line"]], height, width).to(torch.uint8)
    for name, polygons in codebook["polygons"].items():
        for polygon in polygons:
            labels[polygon_masks(points[:, polygon], height, width)] = FACE_REGIONS.index(name)
    return labels[:, None] == torch.arange(len(FACE_REGIONS))[:, None, None]


def polygon_masks(corners: Tensor, height: int, width: int) -> Tensor:
    """Return [N,H,W] bool, the pixels whose middle is in a polygon [N,V,2] of x and y, by the even-odd rule.

    A ray from the middle to the right crosses the outline an odd number of times where the middle is inside.
    """
    x, y = torch.arange(width) + 0.5, torch.arange(height) + 0.5
    start, end = corners, corners.roll(-1, 1)
    spans = (start[..., 1:] > y) != (end[..., 1:] > y)  # [N,V,H]: the edge crosses the row
    rise = end[..., 1] - start[..., 1]
    slope = torch.where(rise == 0, 0.0, (end[..., 0] - start[..., 0]) / torch.where(rise == 0, 1.0, rise))
    crossing = start[..., :1] + slope[..., None] * (y - start[..., 1:])  # [N,V,H]: at this x
    right_of = spans[..., None] & (x < crossing[..., None])
    return right_of.sum(1) % 2 == 1


@cache
def read_codebook() -> Mapping[str, Any]:
    """Return the codebook: polygons, action units and expressions."""
    return tomllib.loads(Path(__file__).with_name("codebook.toml").read_text(encoding="utf-8"))


def expression_units(expression: str, source: str = "emfacs") -> tuple[str, ...]:
    """Return the action units of an expression by a source; none for neutral and for what is no expression.

    Example:
        >>> expression_units("happiness")
        ('AU6', 'AU12')
    """
    return tuple(read_codebook()["expressions"][source].get(expression_name(expression), ()))


def expression_name(name: str) -> str:
    """Return the codebook's name of an expression, or the name itself in small letters.

    Example:
        >>> expression_name("Happiness"), expression_name("neutral")
        ('happy', 'neutral')
    """
    return read_codebook()["synonyms"].get(name.lower(), name.lower())


def _above_line(ends: Tensor, height: int, width: int) -> Tensor:
    """Whether the middle of each pixel [N,H,W] is above the line through two points [N,2,2], left and right."""
    x, y = torch.arange(width) + 0.5, torch.arange(height) + 0.5
    (x1, y1), (x2, y2) = (ends[:, index].T[..., None, None] for index in (0, 1))
    run = torch.where((x2 - x1).abs() < 1e-3, 1e-3, x2 - x1)
    return y[:, None] < y1 + (y2 - y1) / run * (x - x1)


def _drawn_regions(truth: Truth) -> Tensor:
    empty = torch.zeros_like(truth.regions, dtype=torch.bool)
    index = {name: number for number, name in enumerate(truth.region_names)}
    return torch.stack([truth.regions == index[name] if name in index else empty for name in FACE_REGIONS], 1)


def _image_bytes(images: Tensor) -> Any:
    """Images in [0, 1] as the bytes that they were made of."""
    whole = images if images.dtype == torch.uint8 else (images.clamp(0, 1) * 255).round().to(torch.uint8)
    return whole.numpy()
