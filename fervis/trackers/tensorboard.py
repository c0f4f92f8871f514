"""TensorBoard: event files in the run folder's ``tensorboard``; ``tensorboard --logdir outputs`` shows all runs.

TensorBoard has no tables, confusion plots or artifacts: the table of images becomes images and a table in Markdown, a
confusion matrix a table in Markdown, and of an artifact the names and sizes of its files are recorded.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fervis.core.protocols import ImageRow, RunInfo
from fervis.core.results import Figure
from fervis.errors import ConfigError


@dataclass
class TensorBoard:
    """Records runs as TensorBoard event files."""

    def __post_init__(self) -> None:
        self._writer: Any = None

    def start(self, run: RunInfo) -> None:
        """Open the event file and record the config as text; an earlier record of the same run is removed.

        Raises:
            ConfigError: the package is not installed.
        """
        try:
            from torch.utils.tensorboard.writer import SummaryWriter
        except ImportError as error:
            raise ConfigError(
                "tracker=tensorboard: the package tensorboard is not installed; `pip install tensorboard` adds it."
            ) from error
        folder = run.folder / "tensorboard"
        shutil.rmtree(folder, ignore_errors=True)
        self._writer = SummaryWriter(str(folder))
        metadata = {
            "name": run.name,
            "id": run.id,
            "group": run.group,
            "job_type": run.job_type,
            "tags": list(run.tags),
        }
        self._writer.add_text("run", _markdown_table(["", ""], metadata.items()))
        self._writer.add_text("config", f"```json\n{json.dumps(run.config, indent=1, default=str)}\n```")

    def log_metrics(self, metrics: Mapping[str, float], epoch: int | None = None) -> None:
        """Record metrics of an epoch as points of curves, and those of the run as single points under ``answer/``."""
        for name, value in metrics.items():
            if epoch is None:
                self._writer.add_scalar(f"answer/{name}", value, 0)
            else:
                self._writer.add_scalar(name, value, epoch)

    def log_figure(self, name: str, figure: Figure) -> None:
        """Record the figure, and its caption under the same name."""
        with Image.open(figure.path) as image:
            pixels = np.asarray(image.convert("RGB"))
        self._writer.add_image(name, pixels, dataformats="HWC")
        self._writer.add_text(name, figure.caption)

    def log_images(self, rows: Sequence[ImageRow]) -> None:
        """Record each face next to its map under ``faces/``, and the values of all rows as one table."""
        names = list(dict.fromkeys(name for row in rows for name in row.values))
        for number, row in enumerate(rows):
            pixels = row.face if row.map is None else np.concatenate([row.face, row.map], axis=1)
            self._writer.add_image(f"faces/{number:03d}_{row.values['row']}", pixels, dataformats="HWC")
        self._writer.add_text(
            "faces", _markdown_table(names, ([row.values.get(name) for name in names] for row in rows))
        )

    def log_confusion(self, name: str, counts: NDArray[np.int64], classes: Sequence[str]) -> None:
        """Record the matrix as a table with one row per true class and one column per predicted class."""
        lines = ([true, *line] for true, line in zip(classes, counts.tolist(), strict=True))
        self._writer.add_text(name, _markdown_table(["true \\ predicted", *classes], lines))

    def log_artifact(self, name: str, kind: str, files: Mapping[str, Path]) -> None:
        """Record the names and sizes of the files, which are in the run folder."""
        lines = ([file, path.stat().st_size] for file, path in files.items())
        self._writer.add_text(f"{kind}/{name}", _markdown_table(["file", "bytes"], lines))

    def finish(self, ok: bool) -> None:
        """Record how the run ended, and close the event file."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.add_text("state", "finished" if ok else "failed")
            writer.close()


def _markdown_table(head: Sequence[str], lines: Iterable[Iterable[Any]]) -> str:
    """Return a table in Markdown."""
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(str(cell) for cell in row) + " |" for row in rows)
