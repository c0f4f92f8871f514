"""No tracking: the run folder is the only record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fervis.contracts import RunCard
from fervis.results import Figure


@dataclass
class NoTracker:
    """Does nothing."""

    def start(self, run: RunCard) -> None:
        """Do nothing."""

    def log(self, numbers: Mapping[str, float], epoch: int | None = None) -> None:
        """Do nothing."""

    def picture(self, name: str, figure: Figure) -> None:
        """Do nothing."""

    def finish(self, ok: bool) -> None:
        """Do nothing."""


PLUGIN = NoTracker
