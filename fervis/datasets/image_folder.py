"""Any pictures in class folders, with or without folders for the splits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from fervis.core.faces import Faces
from fervis.datasets.images.class_folders import draw_splits, read_pictures, read_tree
from fervis.datasets.paths import existing_path
from fervis.errors import ConfigError
from fervis.system.cache import cached_tensors


@dataclass
class ImageFolder:
    """Pictures of any kind and size in ``<class>/`` or ``<train|val|test>/<class>/`` folders.

    Grey, colour, palette, transparent (on white) and 16-bit pictures are read, upright by their EXIF orientation. The
    shorter side is brought to ``size``, the aspect stays, and the middle of the longer side is kept. Classes are in
    alphabetical order, but where FER2013's seven are all there (also as anger, happiness, sadness, ...) these stand
    first in FER2013's order and names. A row is a picture's place in the sorted order of relative paths.

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
    size: int = 48
    channels: int = 1
    val_fraction: float = 0.1
    test_fraction: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ConfigError(f"dataset.size={self.size}: a number of pixels from 1 was expected.")
        if self.channels not in (1, 3):
            raise ConfigError(f"dataset.channels={self.channels}: 1 (grey) or 3 (RGB) was expected.")
        for key in ("val_fraction", "test_fraction"):
            if not 0 <= getattr(self, key) < 1:
                raise ConfigError(f"dataset.{key}={getattr(self, key)}: a share from 0 to below 1 was expected.")
        if self.val_fraction + self.test_fraction >= 1:
            both = f"dataset.val_fraction={self.val_fraction} and dataset.test_fraction={self.test_fraction}"
            raise ConfigError(f"{both}: a sum below 1 was expected, so that something is left to train on.")

    def load(self, cache: Path) -> Faces:
        """Decode the pictures, or take the parsed copy in ``cache`` where there is one of this content.

        Raises:
            ConfigError: where there are no class folders or a picture cannot be read: file and reason.
        """
        root = self._root()
        tree = read_tree(root, "dataset.path")

        def parse() -> dict[str, Tensor]:
            images, hashes = read_pictures(root, tree.names, self.size, self.channels)
            return {"images": torch.from_numpy(images), "hashes": torch.from_numpy(hashes)}

        kept = cached_tensors([root], cache, f"image_folder-1-{self.channels}x{self.size}", parse)
        splits = draw_splits(tree.splits, kept["hashes"].numpy(), self.val_fraction, self.test_fraction, self.seed)
        return Faces(
            images=kept["images"],
            labels=torch.from_numpy(tree.labels),
            rows=torch.arange(len(tree.names)),
            splits=torch.from_numpy(splits),
            classes=tree.classes,
        )

    def files(self) -> list[Path]:
        """The folder that the pictures lie in."""
        return [self._root()]

    def _root(self) -> Path:
        root = existing_path(self.path, "dataset.path")
        if not root.is_dir():
            raise ConfigError(f"dataset.path={self.path}: this is a file where a folder of class folders was expected.")
        return root
