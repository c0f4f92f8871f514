"""Shards: the part of a run's images that one of several jobs explains."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from fervis.errors import ConfigError


@dataclass(frozen=True)
class Shard:
    """A job's share of a run: every ``of``-th chunk from ``number`` on, counted from 1."""

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


def parse_shard(spec: Any) -> Shard | None:
    """Return the shard that ``shard=2/4`` means; None for ``null``.

    Raises:
        ConfigError: it is of another form, or there is no such shard.
    """
    if spec is None:
        return None
    match = re.fullmatch(r"(\d+)/(\d+)", str(spec))
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise ConfigError(f"shard={spec}: expected <number>/<shards> such as 1/4, counted from 1.")
    return Shard(int(match[1]), int(match[2]))
