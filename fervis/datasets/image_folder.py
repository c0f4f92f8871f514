"""Any pictures in class folders, with or without folders for the splits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fervis.datasets.images.class_folders import read_tree
from fervis.datasets.images.labelled import LabelledPictures
from fervis.datasets.images.records import Listing, Record, list_files
from fervis.datasets.paths import existing_path
from fervis.errors import ConfigError


@dataclass
class ImageFolder(LabelledPictures):
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

    def listing(self, root: Path) -> Listing:
        """List the pictures by class folders."""
        tree = read_tree(root, "dataset.path")
        columns = zip(tree.names, tree.labels.tolist(), tree.splits.tolist(), strict=True)
        return list_files(root, [Record(*column) for column in columns], tree.classes)

    def files(self) -> list[Path]:
        """Return the folder of the pictures."""
        root = existing_path(self.path, "dataset.path")
        if not root.is_dir():
            raise ConfigError(f"dataset.path={self.path}: expected a folder of class folders, not a file.")
        return [root]
