"""Picture files of any kind as grey or RGB bytes."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from fervis.errors import ConfigError

IMAGE_SUFFIXES = (
    ".png",
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".bmp",
    ".webp",
    ".gif",
    ".tif",
    ".tiff",
    ".pgm",
    ".ppm",
    ".pnm",
)
_NAMED_ERRORS = 10
_LFS = b"version https://git-lfs"


def lfs_pointer(head: bytes) -> bool:
    """Whether a file that begins so is a Git LFS pointer, the placeholder of a file not yet downloaded."""
    return head.startswith(_LFS)


def decode_image(path: Path, channels: int, data: bytes | None = None) -> Image.Image:
    """Decode a picture file into mode ``L`` (1 channel) or ``RGB`` (3 channels), upright.

    The EXIF orientation is applied; palettes are resolved; what is transparent becomes white; 16-bit grey is scaled
    to 8 (65535 becomes 255); colour becomes grey by ITU-R 601 luma; of an animation the first frame is taken.

    Args:
        path: the file.
        channels: 1 or 3.
        data: the file's bytes, where they have been read already.

    Raises:
        ConfigError: where the file is no whole picture: file and reason.
    """
    data = path.read_bytes() if data is None else data
    if not data:
        raise ConfigError(f"{path}: the picture file is empty.")
    if lfs_pointer(data):
        raise ConfigError(f"{path}: this is a Git LFS pointer, not the picture; run `git lfs pull` in its folder.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(BytesIO(data)) as image:
                image.load()
                upright = ImageOps.exif_transpose(image)
                return _eight_bit(upright).convert("L" if channels == 1 else "RGB")
    except Exception as error:  # the readers of damaged files fail in any way: IndexError, OverflowError, ...
        reason = "no picture that Pillow can read" if "cannot identify" in str(error) else str(error) or "damaged"
        raise ConfigError(f"{path}: the picture cannot be read ({reason}).") from error


def refuse_unreadable(errors: Sequence[ConfigError]) -> None:
    """Raise one sentence that names every picture that could not be read, if there is any.

    Raises:
        ConfigError: the error itself where there is one, else all of them with their reasons, the first ten by name.
    """
    if len(errors) == 1:
        raise errors[0]
    if errors:
        reasons = "; ".join(str(error).rstrip(".") for error in errors[:_NAMED_ERRORS])
        more = f"; and {len(errors) - _NAMED_ERRORS} more" if len(errors) > _NAMED_ERRORS else ""
        raise ConfigError(f"{len(errors)} pictures cannot be used: {reasons}{more}.")


def _eight_bit(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "I;16", "I;16L", "I;16B", "I;16N"):
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError(f"grey values from {values.min()} to {values.max()} are neither 8 nor 16 bits")
        return Image.fromarray(((values + 128) // 257).astype(np.uint8))
    if image.mode == "F":
        raise ValueError("floating-point grey values have no known range")
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        clear = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear).convert("RGB")
    return image.convert("RGB") if image.mode not in ("1", "L", "RGB") else image
