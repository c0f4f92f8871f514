"""FER2013 as class folders whose file names begin with the usage, such as test/sad/PublicTest_7.jpg."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from fervis.core.faces import FER2013_CLASSES
from fervis.datasets.fer2013_formats.schema import FACE_SIDE, USAGES, Parsed, class_of, format_error, split_of_usage
from fervis.datasets.images.decode import IMAGE_SUFFIXES, decode_image, refuse_unreadable
from fervis.errors import ConfigError
from fervis.system.hashing import files_below
from fervis.system.progress import progress

_NAME = re.compile(rf"({'|'.join(USAGES)})_(\d{{1,12}})\.\w+", re.IGNORECASE)


def usage_name(name: str) -> re.Match[str] | None:
    """Match usage and number in a file name such as ``PublicTest_28709.png``; None where it is no such name."""
    return _NAME.fullmatch(name)


def read_folders(root: Path) -> Parsed:
    """Read every picture below ``root`` in a folder named by a class, at any depth.

    The class is the folder's name, never its position in the alphabet; the split is the file name's beginning; the row
    is the file name's number. Where two faces share a number, as random numbers may, rows are positions in the order
    of split, number and class instead. Faces come in the order of their rows.

    Raises:
        ConfigError: at the first file that has no usage in its name, is no picture of 48 x 48, or is there
            twice; where pictures cannot be read, all of them by name.
    """
    faces: dict[tuple[int, int, int], str] = {}
    for name, label in pictures(root):
        match = usage_name(PurePosixPath(name).name)
        if match is None:
            raise format_error(
                root / name,
                f"the name does not say the split as {USAGES[0]}_123.png does (dataset=image_folder reads any names)",
            )
        key = (split_of_usage(root / name, match[1]), int(match[2]), label)
        if key in faces:
            raise format_error(root / name, f"the same face is in {root / faces[key]} too; name one of the two folders")
        faces[key] = name
    if not faces:
        raise format_error(root, "no folder below it that is named by a class holds a picture")
    unique = len({number for _, number, _ in faces}) == len(faces)
    order = sorted(faces, key=lambda key: key[1]) if unique else sorted(faces)
    images = np.empty((len(order), FACE_SIDE, FACE_SIDE), np.uint8)
    errors: list[ConfigError] = []
    for image, key in zip(images, progress(order, root.name, "face"), strict=True):
        try:
            image[:] = _face_pixels(root / faces[key])
        except ConfigError as error:
            errors.append(error)
    refuse_unreadable(errors)
    splits, numbers, labels = np.array(order).T
    rows = numbers if unique else np.arange(len(order))
    return Parsed(images, labels.astype(np.int64), rows.astype(np.int64), splits.astype(np.uint8))


def pictures(root: Path) -> Iterator[tuple[str, int]]:
    """Yield relative path and label of each picture in a folder named by a class of FER2013."""
    for name, _ in files_below(root):
        path = PurePosixPath(name)
        if path.suffix.lower() in IMAGE_SUFFIXES:
            folder = class_of(path.parent.name if path.parent.name else root.name)
            if folder is not None:
                yield name, FER2013_CLASSES.index(folder)


def _face_pixels(path: Path) -> np.ndarray:
    image = decode_image(path, channels=1)
    if image.size != (FACE_SIDE, FACE_SIDE):
        size = f"{image.width} x {image.height}"
        raise format_error(
            path, f"the picture is {size} where FER2013's are 48 x 48 (dataset=image_folder reads any size)"
        )
    return np.asarray(image)
