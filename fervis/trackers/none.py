"""No tracking: the run folder is the only record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fervis.core.protocols import ImageRow, RunInfo
from fervis.core.results import Figure


@dataclass
class NoTracker:
    """A tracker that records nothing."""

    def start(self, run: RunInfo) -> None:
        """Do nothing."""

    def log_metrics(self, metrics: Mapping[str, float], epoch: int | None = None) -> None:
        """Do nothing."""

    def log_figure(self, name: str, figure: Figure) -> None:
        """Do nothing."""

    def log_images(self, rows: Sequence[ImageRow]) -> None:
        """Do nothing."""

    def log_confusion(self, name: str, counts: NDArray[np.int64], classes: Sequence[str]) -> None:
        """Do nothing."""

    def log_artifact(self, name: str, kind: str, files: Mapping[str, Path]) -> None:
        """Do nothing."""

    def finish(self, ok: bool) -> None:
        """Do nothing."""
