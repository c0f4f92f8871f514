"""Any pictures in class folders, with or without folders for the splits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
from torch import Tensor

from fervis.core.faces import Faces
from fervis.core.knobs import Choice, Range, Whole
from fervis.datasets.images.class_folders import draw_splits, read_pictures, read_tree
from fervis.datasets.paths import existing_path
from fervis.errors import ConfigError
from fervis.system.cache import cached_tensors
from fervis.system.console import log


@dataclass
class ImageFolder:
    """Pictures of any kind and size in ``<class>/`` or ``<train|val|test>/<class>/`` folders.

    Grey, colour, palette, transparent (on white) and 16-bit pictures are read, upright by their EXIF orientation. The
    shorter side is resized to ``size``, the aspect stays, and the longer side is cropped to its middle. Classes are in
    alphabetical order, but where FER2013's seven are all there (also as anger, happiness, sadness, ...) these stand
    first in FER2013's order and names. A row is a picture's position in the sorted order of relative paths.

    A split without a folder (``val`` is also valid, validation, dev or public..., ``test`` also private...) is drawn
    from ``train`` by a hash of each file's content and ``seed``: the draw does not change when other pictures come or
    go, and exact copies of a file are never parted.

    Attributes:
        path: the folder that holds the class folders or the folders of the splits.
        size: height and width of the faces, in pixels.
        channels: 1 (grey) or 3 (RGB).
        val_fraction: share of ``train`` that becomes ``val`` where that has no folder, in [0, 1).
        test_fraction: share of ``train`` that becomes ``test`` where that has no folder, in [0, 1).
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

    def load(self, cache: Path) -> Faces:
        """Decode the pictures, or read the parsed copy in ``cache`` where there is one of this content.

        Raises:
            ConfigError: where there are no class folders or pictures cannot be read: files and reasons.
        """
        root = self._root()
        tree = read_tree(root, "dataset.path")

        def parse() -> dict[str, Tensor]:
            images, hashes = read_pictures(root, tree.names, self.size, self.channels)
            return {"images": torch.from_numpy(images), "hashes": torch.from_numpy(hashes)}

        tensors = cached_tensors([root], cache, f"image_folder-1-{self.channels}x{self.size}", parse)
        splits = draw_splits(tree.splits, tensors["hashes"].numpy(), self.val_fraction, self.test_fraction, self.seed)
        kind = "grey" if self.channels == 1 else "RGB"
        log.info(
            "%d pictures, read as %s of %d x %d pixels (dataset.channels, dataset.size)",
            len(tree.names),
            kind,
            self.size,
            self.size,
        )
        return Faces(
            images=tensors["images"],
            labels=torch.from_numpy(tree.labels),
            rows=torch.arange(len(tree.names)),
            splits=torch.from_numpy(splits),
            classes=tree.classes,
            names=tree.names,
        )

    def files(self) -> list[Path]:
        """Return the folder of the pictures."""
        return [self._root()]

    def _root(self) -> Path:
        root = existing_path(self.path, "dataset.path")
        if not root.is_dir():
            raise ConfigError(f"dataset.path={self.path}: expected a folder of class folders, not a file.")
        return root
