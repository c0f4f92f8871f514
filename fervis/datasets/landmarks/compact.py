"""The landmarks of FER2013 in a compact form: principal components of all points, quantised, by the image's hash.

``fer2013.npz`` is built from an archive of landmarks (``points`` [N,468,2] uint8 in quarter pixels plus 8 pixels,
``found`` [N], ``sha1`` [N] of the image's bytes in hexadecimal digits) by

    python -m fervis.datasets.landmarks.compact LANDMARKS.npz fervis/datasets/landmarks/fer2013.npz
"""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fervis.system.files import atomic_path

SHIPPED_LANDMARKS = Path(__file__).with_name("fer2013.npz")
LANDMARK_SIDE = 48  # pixels per side of the images whose landmarks these are
_COMPONENTS = 100
_STEP = 0.75  # of a coefficient, in pixels; spread over 468 points, so that a point moves by a twentieth of it
_KEY_BYTES = 5  # of SHA-1: a picture that is not of FER2013 is taken for one of it once in 30 million


@dataclass(frozen=True)
class CompactLandmarks:
    """Landmarks of M faces.

    Attributes:
        keys: [M,5] uint8, the first bytes of the SHA-1 of each image's bytes, in ascending order.
        low: [D,M] uint8, the lower byte of each coefficient.
        high: [D,M] uint8, its upper byte; apart, as it is nearly always 0 or 255 and so takes hardly any room.
        basis: [D,468,2] float16, the principal components.
        mean: [468,2] float32, the mean face, in pixels of a 48x48 image.
        step: [] float32, the unit of the coefficients.
    """

    keys: NDArray[np.uint8]
    low: NDArray[np.uint8]
    high: NDArray[np.uint8]
    basis: NDArray[np.float16]
    mean: NDArray[np.float32]
    step: NDArray[np.float32]

    def decode(self, faces: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the landmarks [n,468,2] of the faces at these positions, in pixels."""
        codes = self.low[:, faces].astype(np.uint16) | (self.high[:, faces].astype(np.uint16) << 8)
        coefficients = codes.view(np.int16).astype(np.float32) * self.step
        moved = coefficients.T @ self.basis.reshape(len(self.basis), -1).astype(np.float32)
        return (self.mean + moved.reshape(-1, *self.mean.shape)).astype(np.float32)

    def positions(self, keys: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Return the positions [n] of faces by their keys [n,5], -1 where there is none."""
        own, wanted = _as_numbers(self.keys), _as_numbers(keys)
        found = np.searchsorted(own, wanted).clip(max=len(own) - 1)
        return np.where(own[found] == wanted, found, -1)


def encode_landmarks(points: NDArray[np.floating], keys: NDArray[np.uint8]) -> CompactLandmarks:
    """Compress landmarks [N,468,2] in pixels of images with these keys [N,5]; of equal images the first counts."""
    _, first = np.unique(_as_numbers(keys), return_index=True)
    flat = points[first].reshape(len(first), -1).astype(np.float64)
    mean = flat.mean(0)
    _, vectors = np.linalg.eigh(np.cov(flat.T))
    basis = vectors[:, ::-1][:, :_COMPONENTS].T.astype(np.float16)
    codes = np.rint((flat - mean) @ np.linalg.pinv(basis.astype(np.float64)) / _STEP).astype(np.int16).T.copy()
    return CompactLandmarks(
        keys=keys[first],
        low=(codes & 255).astype(np.uint8),
        high=(codes.view(np.uint16) >> 8).astype(np.uint8),
        basis=basis.reshape(len(basis), *points.shape[1:]),
        mean=mean.reshape(points.shape[1:]).astype(np.float32),
        step=np.array(_STEP, np.float32),
    )


def image_keys(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the keys [N,5] of grey images [N,H,W]."""
    digests = [hashlib.sha1(image.tobytes(), usedforsecurity=False).digest() for image in images]
    return np.frombuffer(b"".join(digests), np.uint8).reshape(len(images), -1)[:, :_KEY_BYTES]


@cache
def shipped_landmarks() -> CompactLandmarks:
    """Return the landmarks of FER2013 that come with fervis."""
    with np.load(SHIPPED_LANDMARKS, allow_pickle=False) as arrays:
        return CompactLandmarks(**{name: arrays[name] for name in arrays.files})


def read_points(path: Path) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Return landmarks [N,468,2] in pixels and keys [N,5] of the faces of an archive that have landmarks."""
    with np.load(path, allow_pickle=False) as arrays:
        found = arrays["found"] > 0
        points = arrays["points"][found].astype(np.float32) / 4 - 8
        digests = bytes.fromhex("".join(digits.decode()[: 2 * _KEY_BYTES] for digits in arrays["sha1"][found].tolist()))
    return points, np.frombuffer(digests, np.uint8).reshape(-1, _KEY_BYTES)


def _as_numbers(keys: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return keys [N,5] as whole numbers [N] in the order of their bytes."""
    return keys.astype(np.int64) @ (256 ** np.arange(keys.shape[1], dtype=np.int64)[::-1])


def main(source: str, target: str) -> None:
    """Build the compact form of an archive of landmarks."""
    landmarks = encode_landmarks(*read_points(Path(source)))
    with atomic_path(Path(target)) as partial, partial.open("wb") as file:
        arrays = {one.name: getattr(landmarks, one.name) for one in fields(landmarks)}
        np.savez_compressed(file, allow_pickle=False, **arrays)


if __name__ == "__main__":
    main(*sys.argv[1:])
