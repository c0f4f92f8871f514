"""FER2013 as one NumPy archive: images, labels, usage and, where it has them, the votes of FER+."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fervis.core.faces import FER2013_CLASSES
from fervis.datasets.fer2013_formats.ferplus import VOTE_NAMES
from fervis.datasets.fer2013_formats.schema import FACE_SIDE, Parsed, format_error, split_of_usage
from fervis.errors import ConfigError

_NEEDED = ("images", "labels", "usage")


def read_archive(path: Path) -> Parsed:
    """Read ``images`` [N,48,48], ``labels`` [N], ``usage`` [N] and perhaps ``votes`` [N,10]; pickles are refused.

    The row of a face is its position in the arrays.

    Raises:
        ConfigError: where the archive is damaged or an array is invalid: array, first wrong index (from 0) and reason.
    """
    try:
        return _parse_arrays(path, _arrays(path))
    except ConfigError:
        raise
    except Exception as error:  # damaged headers and words fail in any way: TokenError, MemoryError, SystemError, ...
        reason = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
        if "allow_pickle" in reason:
            raise format_error(path, "the archive holds pickled objects, which are never loaded") from error
        raise format_error(path, f"the archive is damaged or cut off ({reason})") from error


def _parse_arrays(path: Path, arrays: dict[str, np.ndarray]) -> Parsed:
    images, labels, usage = (arrays[name] for name in _NEEDED)
    count = len(images) if images.ndim else 0
    if images.shape != (count, FACE_SIDE, FACE_SIDE) or count == 0:
        raise format_error(path, f"images has the shape {images.shape}, expected [N,48,48] with N > 0")
    for name in (*_NEEDED[1:], "votes"):
        expected = (count, len(VOTE_NAMES)) if name == "votes" else (count,)
        if name in arrays and arrays[name].shape != expected:
            raise format_error(path, f"{name} has the shape {arrays[name].shape}, expected {expected}")
    _in_range(path, "images", images, 255)
    _in_range(path, "labels", labels, len(FER2013_CLASSES) - 1)
    if usage.dtype.kind not in "US":
        raise format_error(path, f"usage holds {usage.dtype}, expected words such as PublicTest")
    words, which = np.unique(usage, return_inverse=True)
    texts = [word.decode("utf-8", "replace") if isinstance(word, bytes) else str(word) for word in words.tolist()]
    splits = [split_of_usage(path, text) for text in texts]
    votes = arrays.get("votes")
    if votes is not None:
        _in_range(path, "votes", votes, 255)
        votes = np.ascontiguousarray(votes, np.uint8)
    return Parsed(
        np.ascontiguousarray(images, np.uint8),
        labels.astype(np.int64),
        np.arange(count),
        np.array(splits, np.uint8)[which],
        votes,
    )


def _arrays(path: Path) -> dict[str, np.ndarray]:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        for name in _NEEDED:
            if name not in archive.files:
                members = ", ".join(map(str, archive.files)) or "nothing"
                raise format_error(path, f"the archive has no array {name}, only {members}")
        arrays = {name: archive[name] for name in (*_NEEDED, "votes") if name in archive.files}
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise format_error(path, f"{name} is a file of {len(array)} bytes, expected a NumPy array ({name}.npy)")
    return arrays


def _in_range(path: Path, name: str, values: np.ndarray, largest: int) -> None:
    if values.dtype.kind not in "iu":
        raise format_error(path, f"{name} holds {values.dtype}, expected whole numbers")
    if values.dtype == np.uint8 and largest == 255:
        return
    wrong = np.argwhere((values < 0) | (values > largest))
    if len(wrong):
        index = tuple(wrong[0].tolist())
        where = ", ".join(map(str, index))
        raise format_error(path, f"{name}[{where}] is {values[index]}, not a whole number from 0 to {largest}")
