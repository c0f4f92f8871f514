"""FER2013 in any layout in which it is distributed, with the votes of FER+ where there are any."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from fervis.core.faces import FER2013_CLASSES, Faces
from fervis.datasets.fer2013_formats.detect import detect_layout
from fervis.datasets.fer2013_formats.ferplus import VOTE_NAMES, join_votes
from fervis.datasets.fer2013_formats.read import read_fer2013
from fervis.datasets.paths import existing_path
from fervis.errors import ConfigError
from fervis.system.cache import cached_tensors


@dataclass
class Fer2013:
    """FER2013 (Goodfellow et al. 2013, arXiv:1307.0414): 35,887 grey faces of 48 x 48 in seven classes.

    ``train`` is Training, ``val`` PublicTest and ``test`` PrivateTest. The layout of ``path`` is detected by content:
    fer2013.csv; icml_face_data.csv; train.csv and test.csv as torchvision (``emotion,pixels`` and ``pixels``) or NTU's
    course (``label,feature`` and ``id,feature``) have them; an .npz with images, labels, usage and perhaps votes; class
    folders of pictures named like ``PublicTest_28709.png``.

    ``rows`` are numbers of fer2013.csv, from 0: in tables and archives a face's position (so that a partial copy counts
    its own faces; train.csv comes before test.csv), in folders the number in the file name. A partial copy is
    read as it is. Faces of a test.csv have no labels: their label is -1, and nothing can be
    scored on them; its 7,178 faces are PublicTest and then PrivateTest, while any other number of unlabelled faces is
    all ``test``.

    Attributes:
        path: a file, or a folder that holds one at most three folders deep.
        votes: FER+'s fer2013new.csv, joined by row; None for the votes of the .npz, if it has them.
    """

    path: str = ""
    votes: str | None = None

    def load(self, cache: Path) -> Faces:
        """Read the faces, from the parsed copy in ``cache`` where there is one of this content.

        Raises:
            ConfigError: where a file is missing, damaged or of something else: file, line and reason.
        """
        source = detect_layout(self.path, "dataset.path")

        def parse() -> dict[str, Tensor]:
            faces = read_fer2013(source)
            return {name: torch.from_numpy(array) for name, array in vars(faces).items() if array is not None}

        tensors = cached_tensors(source.paths, cache, f"fer2013-1-{source.layout}", parse)
        votes_file = self._votes_file()
        if votes_file is not None:
            votes = join_votes(votes_file, tensors["rows"].numpy(), tensors["splits"].numpy())
            tensors = {**tensors, "votes": torch.from_numpy(votes)}
        vote_names = VOTE_NAMES if "votes" in tensors else ()
        return Faces(
            images=tensors["images"].unsqueeze(1),
            labels=tensors["labels"],
            rows=tensors["rows"],
            splits=tensors["splits"],
            classes=FER2013_CLASSES,
            votes=tensors.get("votes"),
            vote_names=vote_names,
        )

    def files(self) -> list[Path]:
        """Return the tables, the archive or the folder that the faces come from, and the file of the votes."""
        votes = self._votes_file()
        return [*detect_layout(self.path, "dataset.path").paths, *([] if votes is None else [votes])]

    def _votes_file(self) -> Path | None:
        if self.votes is None:
            return None
        file = existing_path(self.votes, "dataset.votes")
        if file.is_dir():
            raise ConfigError(f"dataset.votes={self.votes}: expected FER+'s fer2013new.csv, not a folder.")
        return file
