"""FER2013 as class folders whose file names begin with the usage, such as test/sad/PublicTest_7.jpg."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from fervis.engines.content import files_below
from fervis.engines.fer_layouts.common import SIDE, USAGES, Parsed, class_of, damaged, split_of_usage
from fervis.engines.pictures import ENDINGS, picture
from fervis.engines.progress_bar import progress
from fervis.faces import FER2013_CLASSES

_NAME = re.compile(rf"({'|'.join(USAGES)})_(\d{{1,12}})\.\w+", re.IGNORECASE)


def usage_name(name: str) -> re.Match[str] | None:
    """Usage and number in a file name such as ``PublicTest_28709.png``, or None where it is no such name."""
    return _NAME.fullmatch(name)


def read_folders(root: Path) -> Parsed:
    """Read every picture below ``root`` that lies in a folder named by a class, in any depth.

    The class is the folder's name, never its place in the alphabet; the split is the file name's beginning; the row
    is the file name's number. Where two faces share a number, as random numbers may, rows are places in the order of
    split, number and class instead. Faces come in the order of their rows.

    Raises:
        WrongQuestion: at the first file that has no usage in its name, is no whole picture of 48 x 48, or stands
            twice.
    """
    faces: dict[tuple[int, int, int], str] = {}
    for name, label in pictures(root):
        match = usage_name(PurePosixPath(name).name)
        if match is None:
            raise damaged(
                root / name,
                f"the name does not say the split as {USAGES[0]}_123.png does (dataset=image_folder reads any names)",
            )
        key = (split_of_usage(root / name, match[1]), int(match[2]), label)
        if key in faces:
            raise damaged(root / name, f"the same face stands in {root / faces[key]} too; name one of the two folders")
        faces[key] = name
    if not faces:
        raise damaged(root, "no folder below it that is named by a class holds a picture")
    unique = len({number for _, number, _ in faces}) == len(faces)
    order = sorted(faces, key=lambda key: key[1]) if unique else sorted(faces)
    images = np.empty((len(order), SIDE, SIDE), np.uint8)
    for image, key in zip(images, progress(order, root.name, "face"), strict=True):
        image[:] = _face(root / faces[key])
    splits, numbers, labels = np.array(order).T
    rows = numbers if unique else np.arange(len(order))
    return Parsed(images, labels.astype(np.int64), rows.astype(np.int64), splits.astype(np.uint8))


def pictures(root: Path) -> Iterator[tuple[str, int]]:
    """Relative path and label of each picture that lies in a folder named by a class of FER2013."""
    for name, _ in files_below(root):
        path = PurePosixPath(name)
        if path.suffix.lower() in ENDINGS:
            folder = class_of(path.parent.name if path.parent.name else root.name)
            if folder is not None:
                yield name, FER2013_CLASSES.index(folder)


def _face(path: Path) -> np.ndarray:
    image = picture(path, channels=1)
    if image.size != (SIDE, SIDE):
        size = f"{image.width} x {image.height}"
        raise damaged(path, f"the picture is {size} where FER2013's are 48 x 48 (dataset=image_folder reads any size)")
    return np.asarray(image)
