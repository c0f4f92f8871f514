"""Arrays that are written part by part into an ``.npz``, without ever being whole in memory.

``numpy.savez`` takes whole arrays, and ``numpy.lib.format.open_memmap`` writes only uncompressed files; every run has
one compressed ``arrays.npz``, whether it was computed in chunks or not.
"""

from __future__ import annotations

import math
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray


class Column:
    """An array that is written item by item, in any order, to a file and from there into an archive.

    Args:
        file: an open file that it owns.
        total: how many items there will be.
        like: an empty array of the items' shape and type.
    """

    def __init__(self, file: IO[bytes], total: int, like: NDArray[Any]) -> None:
        self.file, self.dtype = file, like.dtype
        self.shape = (total, *like.shape[1:])
        self.bytes = like.itemsize * math.prod(like.shape[1:])

    def put(self, entries: Sequence[int], values: NDArray[Any]) -> None:
        """Write items at these positions."""
        values = np.ascontiguousarray(values, self.dtype)
        for start, stop in _contiguous_runs(entries):
            self.file.seek(entries[start] * self.bytes)
            self.file.write(values[start:stop].tobytes())

    def write(self, archive: zipfile.ZipFile, name: str) -> None:
        """Copy what was written into an archive, as ``<name>.npy``."""
        self.file.seek(0)
        with archive.open(f"{name}.npy", "w", force_zip64=True) as target:
            header = {"descr": npy.dtype_to_descr(self.dtype), "fortran_order": False, "shape": self.shape}
            npy.write_array_header_1_0(target, header)
            shutil.copyfileobj(self.file, target, 2**20)


def write_npy(archive: zipfile.ZipFile, name: str, values: NDArray[Any]) -> None:
    """Write an array into an archive, as ``<name>.npy``."""
    with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
        npy.write_array(file, values, allow_pickle=False)


def _contiguous_runs(entries: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield start and stop of each run of consecutive numbers: [4, 5, 9] -> (0, 2), (2, 3)."""
    start = 0
    for position in range(1, len(entries) + 1):
        if position == len(entries) or entries[position] != entries[position - 1] + 1:
            yield start, position
            start = position
