"""FER2013 as one NumPy archive: images, labels, usage and, where it has them, the votes of FER+."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from fervis.core.faces import FER2013_CLASSES
from fervis.datasets.fer2013_formats.ferplus import VOTE_NAMES
from fervis.datasets.fer2013_formats.schema import FACE_SIDE, Parsed, format_error, split_of_usage
from fervis.errors import ConfigError

_NEEDED = ("images", "labels", "usage")
_ARCHIVE_ERRORS = (zipfile.BadZipFile, zlib.error, ValueError, EOFError, OSError, KeyError)


def read_archive(path: Path) -> Parsed:
    """Read ``images`` [N,48,48], ``labels`` [N], ``usage`` [N] and perhaps ``votes`` [N,10]; pickles are refused.

    The row of a face is its place in the arrays.

    Raises:
        ConfigError: where the archive is damaged or an array is not as it should be; it names the array and the
            first wrong place (from 0).
    """
    arrays = _arrays(path)
    images, labels, usage = (arrays[name] for name in _NEEDED)
    count = len(images) if images.ndim else 0
    if images.shape != (count, FACE_SIDE, FACE_SIDE) or count == 0:
        raise format_error(path, f"images has the shape {images.shape} where [N,48,48] with N > 0 was expected")
    for name in (*_NEEDED[1:], "votes"):
        expected = (count, len(VOTE_NAMES)) if name == "votes" else (count,)
        if name in arrays and arrays[name].shape != expected:
            raise format_error(path, f"{name} has the shape {arrays[name].shape} where {expected} was expected")
    _in_range(path, "images", images, 255)
    _in_range(path, "labels", labels, len(FER2013_CLASSES) - 1)
    if usage.dtype.kind not in "US":
        raise format_error(path, f"usage holds {usage.dtype} where words such as PublicTest were expected")
    words, which = np.unique(usage, return_inverse=True)
    found = [split_of_usage(path, word.decode() if isinstance(word, bytes) else str(word)) for word in words.tolist()]
    votes = arrays.get("votes")
    if votes is not None:
        _in_range(path, "votes", votes, 255)
        votes = np.ascontiguousarray(votes, np.uint8)
    return Parsed(
        np.ascontiguousarray(images, np.uint8),
        labels.astype(np.int64),
        np.arange(count),
        np.array(found, np.uint8)[which],
        votes,
    )


def _arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            for name in _NEEDED:
                if name not in archive.files:
                    held = ", ".join(map(str, archive.files)) or "nothing"
                    raise format_error(path, f"the archive has no array {name}, only {held}")
            return {name: archive[name] for name in (*_NEEDED, "votes") if name in archive.files}
    except ConfigError:
        raise
    except _ARCHIVE_ERRORS as error:
        if "allow_pickle" in str(error):
            raise format_error(path, "the archive holds pickled objects, which are never loaded") from error
        raise format_error(path, f"the archive is damaged or cut off ({str(error).rstrip('.')})") from error


def _in_range(path: Path, name: str, values: np.ndarray, largest: int) -> None:
    if values.dtype.kind not in "iu":
        raise format_error(path, f"{name} holds {values.dtype} where whole numbers were expected")
    if values.dtype == np.uint8 and largest == 255:
        return
    wrong = np.argwhere((values < 0) | (values > largest))
    if len(wrong):
        place = tuple(wrong[0].tolist())
        where = ", ".join(map(str, place))
        raise format_error(path, f"{name}[{where}] is {values[place]}, not a whole number from 0 to {largest}")
