"""Base of data sets of labelled pictures: settings, decoding, splits; a data set adds what its layout looks like."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from fervis.core.faces import Faces, Truth
from fervis.core.knobs import Choice, Range, Whole
from fervis.datasets.images.decode import decode_image, is_coloured, refuse_unreadable
from fervis.datasets.images.face_detection import Box, crop
from fervis.datasets.images.records import Listing, Record
from fervis.datasets.images.splits import draw_group_splits, draw_splits, missing_shares, refuse_parted_persons
from fervis.datasets.paths import existing_path
from fervis.errors import ConfigError
from fervis.system.cache import cached_tensors
from fervis.system.console import log
from fervis.system.hashing import digest
from fervis.system.progress import progress

_VERSION = 2
_DRAWN_LATER = ("path", "val_fraction", "test_fraction", "seed")
"""Settings on which the parsed copy does not depend."""


@dataclass
class LabelledPictures:
    """Pictures with labels; a data set defines ``listing``, and its own settings below these.

    Attributes:
        path: the file or folder of the data set.
        size: height and width of the faces, in pixels.
        channels: 1 (grey) or 3 (RGB).
        val_fraction: share of ``train`` that becomes ``val`` where the layout has none, in [0, 1).
        test_fraction: share of ``train`` that becomes ``test`` where the layout has none, in [0, 1).
        seed: of that draw.
    """

    path: str = ""
    size: Annotated[int, Whole(1)] = 48
    channels: Annotated[int, Choice(1, 3)] = 1
    val_fraction: Annotated[float, Range(0, 1, open_high=True)] = 0.1
    test_fraction: Annotated[float, Range(0, 1, open_high=True)] = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.val_fraction < 1 and self.test_fraction < 1 and self.val_fraction + self.test_fraction >= 1:
            both = f"dataset.val_fraction={self.val_fraction} and dataset.test_fraction={self.test_fraction}"
            raise ConfigError(f"{both}: expected a sum below 1, so that something is left to train on.")

    def listing(self, root: Path) -> Listing:
        """Detect the layout at ``root`` and list its faces.

        Raises:
            ConfigError: it has none of the data set's layouts.
        """
        raise NotImplementedError

    def files(self) -> list[Path]:
        """Return the files or folders that the pictures and labels come from, the data set itself first."""
        return [existing_path(self.path, "dataset.path")]

    def load(self, cache: Path) -> Faces:
        """Decode the pictures, or read the parsed copy in ``cache`` where there is one of this content.

        Pictures that cannot be read are left out; one warning says how many, and why the first.

        Raises:
            ConfigError: no picture can be read, or the layout is not the data set's: file and reason.
        """
        sources = self.files()
        settings = {name: value for name, value in asdict(self).items() if name not in _DRAWN_LATER}
        copy = f"{type(self).__name__.lower()}-{_VERSION}-{digest(settings, 12)}"
        tensors = cached_tensors(sources, cache, copy, lambda: self._parse(sources[0]))
        facts = json.loads(tensors["facts"].numpy().tobytes())
        self._log_facts(facts, len(tensors["labels"]))
        return Faces(
            images=tensors["images"],
            labels=tensors["labels"],
            rows=tensors["rows"],
            splits=torch.from_numpy(self._splits(tensors, facts)),
            classes=tuple(facts["classes"]),
            truth=_unit_truth(tensors["units"], facts["unit_names"]),
            names=_number_names(facts["names"]),
            skipped=facts["skipped"],
        )

    def _parse(self, root: Path) -> dict[str, Tensor]:
        """Return the columns of all faces whose pictures can be read, and ``facts``, JSON as bytes."""
        listing = self.listing(root)
        images = np.empty((len(listing.records), self.channels, self.size, self.size), np.uint8)
        hashes = np.empty((len(listing.records), 32), np.uint8)
        used: list[int] = []
        errors: list[ConfigError] = []
        coloured = 0
        shown = progress(listing.records, root.name, "face")
        for position, (record, data) in enumerate(zip(shown, listing.pictures(), strict=True)):
            try:
                picture = _decode(record, data)
            except ConfigError as error:
                errors.append(error)
                continue
            coloured += is_coloured(picture)
            images[len(used)] = fit_picture(picture, self.channels, self.size, record.box)
            hashes[len(used)] = np.frombuffer(hashlib.sha256(data or b"").digest(), np.uint8)
            used.append(position)
        if not used:
            refuse_unreadable(errors)
            raise ConfigError(f"dataset.path={self.path}: it lists no picture.")
        records = [listing.records[position] for position in used]
        facts = {
            "names": [record.name for record in records],
            "groups": [record.group for record in records],
            "classes": listing.classes,
            "notes": listing.notes,
            "unit_names": listing.unit_names,
            "coloured": coloured,
            "skipped": len(errors),
            "first_error": str(errors[0]) if errors else "",
        }
        units = [[float(name in record.units) for name in listing.unit_names] for record in records]
        return {
            "images": torch.from_numpy(images[: len(used)]),
            "hashes": torch.from_numpy(hashes[: len(used)]),
            "labels": torch.tensor([record.label for record in records], dtype=torch.int64),
            "stated": torch.tensor([record.split for record in records], dtype=torch.int64),
            "rows": torch.tensor(used, dtype=torch.int64),
            "units": torch.tensor(units, dtype=torch.float32).reshape(len(records), len(listing.unit_names)),
            "facts": torch.frombuffer(bytearray(json.dumps(facts).encode()), dtype=torch.uint8),
        }

    def _splits(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> np.ndarray:
        stated, hashes, groups = tensors["stated"].numpy(), tensors["hashes"].numpy(), facts["groups"]
        if any(groups):
            groups = [group or key.tobytes().hex() for group, key in zip(groups, hashes, strict=True)]
            return draw_group_splits(stated, groups, self.val_fraction, self.test_fraction, self.seed)
        if any(missing_shares(stated, self.val_fraction, self.test_fraction)):
            refuse_parted_persons(facts["names"], f"dataset.path={self.path}")
        return draw_splits(stated, hashes, self.val_fraction, self.test_fraction, self.seed)

    def _log_facts(self, facts: dict[str, Any], count: int) -> None:
        if skipped := facts["skipped"]:
            what = "picture is" if skipped == 1 else "pictures are"
            log.warning("%s %s left out; the first: %s", f"{skipped:,}", what, facts["first_error"])
        for note in facts["notes"]:
            log.info("%s", note)
        kind = "grey" if self.channels == 1 else "RGB"
        colour = f", {facts['coloured']:,} of them in colour" if facts["coloured"] and self.channels == 1 else ""
        knobs = "dataset.channels=3 keeps the colours; dataset.size" if colour else "dataset.channels, dataset.size"
        side = self.size
        log.info("%s pictures%s, read as %s of %d x %d pixels (%s)", f"{count:,}", colour, kind, side, side, knobs)


def fit_picture(
    picture: Image.Image, channels: int, size: int, box: tuple[float, float, float, float] | None = None
) -> np.ndarray:
    """Return a decoded picture as [channels,size,size] uint8.

    The shorter side is brought to ``size`` (bilinear over the pixels it covers, so that shrinking does not alias), the
    aspect stays, and the longer side is cropped to its middle. A picture of that size is unchanged. Of a ``box``
    (left, top, right, bottom) the square around its centre with its longer side is cut out, the picture's edge
    repeated where it reaches beyond, and resized by Lanczos' filter.
    """
    image = picture.convert("L" if channels == 1 else "RGB")
    if box is not None:
        left, top, right, bottom = box
        side = max(right - left, bottom - top)
        square = Box((left + right - side) / 2, (top + bottom - side) / 2, side)
        pixels = crop(np.asarray(image), square, size)
    else:
        fitted = image if image.size == (size, size) else ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)
        pixels = np.asarray(fitted)
    return np.ascontiguousarray(pixels.reshape(size, size, channels).transpose(2, 0, 1))


def _decode(record: Record, data: bytes | None) -> Image.Image:
    if data is None:
        raise ConfigError(f"{record.name}: there is no such picture file.")
    picture = decode_image(Path(record.name), 3, data)
    if record.box is not None:
        left, top, right, bottom = record.box
        if not (max(left, 0) < min(right, picture.width) and max(top, 0) < min(bottom, picture.height)):
            raise ConfigError(f"{record.name}: the box of the face, {record.box}, lies outside the picture.")
    return picture


def _number_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names, those of several faces of one picture numbered from 1."""
    counts, seen, numbered = Counter(names), Counter[str](), []
    for name in names:
        seen[name] += 1
        numbered.append(name if counts[name] == 1 else f"{name} ({seen[name]})")
    return tuple(numbered)


def _unit_truth(units: Tensor, names: Sequence[str]) -> Truth | None:
    """Return the truth of faces of which only the action units are known."""
    return Truth(None, None, (), units, tuple(names)) if names else None
