"""Your own pictures: the face in each is found and cut out as FER2013's faces are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fervis.core.faces import FER2013_CLASSES, SPLITS, Faces
from fervis.datasets.images.decode import IMAGE_SUFFIXES, decode_image
from fervis.datasets.images.face_detection import Box, central_box, crop, detect_faces
from fervis.datasets.paths import existing_path
from fervis.errors import ConfigError, nearest_name
from fervis.system.cache import cached_tensors
from fervis.system.console import log
from fervis.system.hashing import files_below
from fervis.system.progress import progress

FACE_CHOICES = ("find", "whole")
EVERY_FACE = ("largest", "all")
LISTED_FILES = 20
"""Up to so many pictures each row is logged with its picture's name."""


@dataclass
class Photos:
    """Pictures without labels, such as your own: every face has label -1 (ask with ``target=predicted``), split test.

    Upright frontal faces are found by scikit-image's bundled cascade. On FER2013's own faces, enlarged and set into
    larger pictures, the box it finds is FER2013's 48 x 48 frame within 3 %: the median frame is 1.00 to 1.03 of the box
    wide, whatever surrounds it, and its centre lies within 0.01 of a box from the box's. So the default ``margin`` cuts
    as FER2013 is cut, with the eyes near (15,17) and (33,17) and the mouth near (24,38) of 48. What a crop needs beyond
    the picture repeats its edge; resizing is Lanczos'. Pictures without a face are named in a warning and left out.

    A row is a face's number: pictures in the sorted order of relative paths, faces of one picture from left to right.
    Up to 20 pictures, the log says which row is which.

    Attributes:
        path: a picture, or a folder that holds pictures at any depth.
        face: ``find`` it, or take the ``whole`` picture (of a longer side the middle).
        size: height and width of the faces, in pixels.
        channels: 1 (grey) or 3 (RGB).
        margin: how much wider the crop is than the box of a face that was found: 0.5 makes it 1.5 boxes wide.
        every: which faces of a picture to take: the ``largest`` or ``all``.
    """

    path: str = ""
    face: str = "find"
    size: int = 48
    channels: int = 1
    margin: float = 0.02
    every: str = "largest"

    def __post_init__(self) -> None:
        for key, known in (("face", FACE_CHOICES), ("every", EVERY_FACE)):
            value = getattr(self, key)
            if value not in known:
                raise ConfigError(
                    f"dataset.{key}={value}: {' or '.join(known)} was expected.{nearest_name(str(value), known)}"
                )
        if self.size < 1:
            raise ConfigError(f"dataset.size={self.size}: a number of pixels from 1 was expected.")
        if self.channels not in (1, 3):
            raise ConfigError(f"dataset.channels={self.channels}: 1 (grey) or 3 (RGB) was expected.")
        if not (math.isfinite(self.margin) and -0.5 <= self.margin <= 3):
            raise ConfigError(f"dataset.margin={self.margin}: a share of the face's box from -0.5 to 3 was expected.")

    def load(self, cache: Path) -> Faces:
        """Find and cut out the faces, or take the parsed copy in ``cache`` where there is one of this content.

        Raises:
            ConfigError: where there is no picture, none shows a face, or one cannot be read: file and reason.
        """
        place = existing_path(self.path, "dataset.path")
        names = self._names(place)
        knobs = f"{self.face}-{self.every}-{self.margin}-{self.channels}x{self.size}"
        kept = cached_tensors([place], cache, f"photos-1-{knobs}", lambda: self._parse(place, names))
        self._tell(names, kept["pictures"].tolist())
        count = len(kept["pictures"])
        return Faces(
            images=kept["images"],
            labels=torch.full((count,), -1),
            rows=torch.arange(count),
            splits=torch.full((count,), SPLITS.index("test"), dtype=torch.uint8),
            classes=FER2013_CLASSES,
        )

    def files(self) -> list[Path]:
        """The picture or the folder."""
        return [existing_path(self.path, "dataset.path")]

    def _names(self, place: Path) -> list[str]:
        """Relative paths of the pictures, sorted; of a picture that was named itself, its name."""
        if place.is_file():
            return [place.name]
        names = [name for name, _ in files_below(place) if name.lower().endswith(IMAGE_SUFFIXES)]
        if not names:
            kinds = ", ".join(ending[1:] for ending in IMAGE_SUFFIXES[:6])
            raise ConfigError(f"dataset.path={self.path}: the folder holds no picture ({kinds}, ...).")
        return names

    def _parse(self, place: Path, names: list[str]) -> dict[str, Tensor]:
        """``images`` [N,C,size,size] uint8 and ``pictures`` [N] int64, the place in ``names`` of each one's picture."""
        root = place.parent if place.is_file() else place
        images: list[np.ndarray] = []
        pictures: list[int] = []
        for number, name in enumerate(progress(names, place.name, "picture")):
            pixels = np.asarray(decode_image(root / name, self.channels))
            for box in self._boxes(pixels):
                images.append(crop(pixels, box, self.size).reshape(self.size, self.size, -1).transpose(2, 0, 1))
                pictures.append(number)
        if not images:
            raise ConfigError(f"dataset.path={self.path}: {_faceless(names, len(names))}.")
        return {"images": torch.from_numpy(np.ascontiguousarray(np.stack(images))), "pictures": torch.tensor(pictures)}

    def _boxes(self, pixels: np.ndarray) -> list[Box]:
        if self.face == "whole":
            return [central_box(pixels)]
        boxes = [box.grown(self.margin) for box in detect_faces(pixels)]
        return boxes if self.every == "all" or not boxes else [max(boxes, key=lambda box: box.side)]

    def _tell(self, names: list[str], pictures: list[int]) -> None:
        """Log which pictures have no face and, where they are few, which row is whose."""
        shown = set(pictures)
        without = [name for number, name in enumerate(names) if number not in shown]
        if without:
            log.warning("%s", _faceless(without, len(names)))
        if len(names) <= LISTED_FILES:
            for row, number in enumerate(pictures):
                log.info("row %d: %s", row, names[number])


def _faceless(without: list[str], count: int) -> str:
    listed = ", ".join(without[:10]) + (", ..." if len(without) > 10 else "")
    what = "picture shows" if count == 1 else "pictures show"
    return (
        f"{len(without)} of {count} {what} no frontal face that could be found: {listed}; "
        "dataset.face=whole takes whole pictures"
    )
