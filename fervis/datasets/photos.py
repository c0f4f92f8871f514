"""Your own pictures: the face in each is detected and cropped as FER2013's faces are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from fervis.core.faces import FER2013_CLASSES, SPLITS, Faces
from fervis.core.knobs import Choice, Range, Whole
from fervis.datasets.images.decode import IMAGE_SUFFIXES, decode_image, refuse_unreadable
from fervis.datasets.images.face_detection import Box, central_box, crop, detect_faces
from fervis.datasets.paths import existing_path
from fervis.errors import ConfigError
from fervis.system.cache import cached_tensors
from fervis.system.console import log
from fervis.system.hashing import files_below
from fervis.system.progress import progress

_LISTED_FILES = 20
"""Up to this number of pictures each row is logged with its picture's name."""


@dataclass
class Photos:
    """Pictures without labels, such as your own: every face has label -1 and the split test.

    Upright frontal faces are detected by scikit-image's bundled cascade. On FER2013's own faces, enlarged and set into
    larger pictures, the detected box is FER2013's 48 x 48 frame within 3 %: the median frame is 1.00 to 1.03 of the box
    wide, for any surroundings, and its centre is within 0.01 of a box from the box's. So the default ``margin`` cuts
    as FER2013 is cut, with the eyes near (15,17) and (33,17) and the mouth near (24,38) of 48. A crop that reaches
    beyond the picture repeats its edge; resizing is Lanczos'. Pictures without a face are named in a warning and left
    out.

    A row is a face's number: pictures in the sorted order of relative paths, faces of one picture from left to right.
    ``names`` are the relative paths, numbered where a picture has several faces. Up to 20 pictures, the log states
    which row is which.

    Attributes:
        path: a picture, or a folder that holds pictures at any depth.
        face: ``find`` it, or take the ``whole`` picture (the middle of its longer side).
        size: height and width of the faces, in pixels.
        channels: 1 (grey) or 3 (RGB).
        margin: how much wider the crop is than the detected box: 0.5 makes it 1.5 boxes wide.
        every: which faces of a picture to take: the ``largest`` or ``all``.
    """

    path: str = ""
    face: Annotated[str, Choice("find", "whole")] = "find"
    size: Annotated[int, Whole(1)] = 48
    channels: Annotated[int, Choice(1, 3)] = 1
    margin: Annotated[float, Range(-0.5, 3)] = 0.02
    every: Annotated[str, Choice("largest", "all")] = "largest"

    def load(self, cache: Path) -> Faces:
        """Detect and crop the faces, or read the parsed copy in ``cache`` where there is one of this content.

        Raises:
            ConfigError: where there is no picture, none shows a face, or some cannot be read: files and reasons.
        """
        source = existing_path(self.path, "dataset.path")
        files = self._picture_names(source)
        knobs = f"{self.face}-{self.every}-{self.margin}-{self.channels}x{self.size}"
        tensors = cached_tensors([source], cache, f"photos-1-{knobs}", lambda: self._parse(source, files))
        pictures = tensors["pictures"].tolist()
        names = _face_names(files, pictures)
        _log_faces(files, pictures, names)
        count = len(pictures)
        return Faces(
            images=tensors["images"],
            labels=torch.full((count,), -1),
            rows=torch.arange(count),
            splits=torch.full((count,), SPLITS.index("test"), dtype=torch.uint8),
            classes=FER2013_CLASSES,
            names=names,
        )

    def files(self) -> list[Path]:
        """Return the picture or the folder."""
        return [existing_path(self.path, "dataset.path")]

    def _picture_names(self, source: Path) -> list[str]:
        """Return the relative paths of the pictures, sorted; for a single picture its name."""
        if source.is_file():
            return [source.name]
        names = [name for name, _ in files_below(source) if name.lower().endswith(IMAGE_SUFFIXES)]
        if not names:
            kinds = ", ".join(ending[1:] for ending in IMAGE_SUFFIXES[:6])
            raise ConfigError(f"dataset.path={self.path}: the folder holds no picture ({kinds}, ...).")
        return names

    def _parse(self, source: Path, names: list[str]) -> dict[str, Tensor]:
        """Return ``images`` [N,C,size,size] uint8 and ``pictures`` [N] int64, the position of each one's file."""
        root = source.parent if source.is_file() else source
        images: list[np.ndarray] = []
        pictures: list[int] = []
        errors: list[ConfigError] = []
        for number, name in enumerate(progress(names, source.name, "picture")):
            try:
                pixels = np.asarray(decode_image(root / name, self.channels))
            except ConfigError as error:
                errors.append(error)
                continue
            for box in self._boxes(pixels):
                images.append(crop(pixels, box, self.size).reshape(self.size, self.size, -1).transpose(2, 0, 1))
                pictures.append(number)
        refuse_unreadable(errors)
        if not images:
            raise ConfigError(f"dataset.path={self.path}: {_faceless(names, len(names))}.")
        return {"images": torch.from_numpy(np.ascontiguousarray(np.stack(images))), "pictures": torch.tensor(pictures)}

    def _boxes(self, pixels: np.ndarray) -> list[Box]:
        if self.face == "whole":
            return [central_box(pixels)]
        boxes = [box.grown(self.margin) for box in detect_faces(pixels)]
        return boxes if self.every == "all" or not boxes else [max(boxes, key=lambda box: box.side)]


def _face_names(files: Sequence[str], pictures: Sequence[int]) -> tuple[str, ...]:
    """Return the file of each face; faces of one picture are numbered from 1, from left to right."""
    counts, seen = Counter(pictures), Counter[int]()
    names: list[str] = []
    for number in pictures:
        seen[number] += 1
        names.append(files[number] if counts[number] == 1 else f"{files[number]} ({seen[number]})")
    return tuple(names)


def _log_faces(files: Sequence[str], pictures: Sequence[int], names: Sequence[str]) -> None:
    """Log which pictures have no face and, where they are few, which row is whose."""
    without = [name for number, name in enumerate(files) if number not in set(pictures)]
    if without:
        log.warning("%s", _faceless(without, len(files)))
    if len(files) <= _LISTED_FILES:
        for row, name in enumerate(names):
            log.info("row %d: %s", row, name)


def _faceless(without: list[str], count: int) -> str:
    listed = ", ".join(without[:10]) + (", ..." if len(without) > 10 else "")
    what = "picture shows" if count == 1 else "pictures show"
    return (
        f"{len(without)} of {count} {what} no frontal face that was detected: {listed}; "
        "dataset.face=whole takes whole pictures"
    )
