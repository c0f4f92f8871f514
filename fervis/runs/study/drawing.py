"""What a drawing over the parts of a study states, and what it gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fervis.core.results import Figure


@dataclass(frozen=True)
class Drawing:
    """A figure over several parts.

    Attributes:
        title: heading of its section in the report, and of the figure.
        dpi: dots per inch.
        kind: ``gallery``, ``leaderboard``, ...
        seed: of the study, for bootstraps.
    """

    title: str
    dpi: int
    kind: str
    seed: int


@dataclass(frozen=True)
class Drawn:
    """What a drawing gives.

    Attributes:
        figures: in the order of the page.
        entries: rows of the study's table.
        numbers: name -> value, which stand in the study's summary in place of the parts' own numbers.
    """

    figures: Sequence[Figure]
    entries: Sequence[Mapping[str, Any]] = ()
    numbers: Mapping[str, float] = field(default_factory=dict)
