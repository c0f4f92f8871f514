"""The claims and their statements, which are data: ``statements.toml``."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_FILE = Path(__file__).with_name("statements.toml")


@dataclass(frozen=True)
class Statement:
    """A statement that a test can contradict.

    Attributes:
        claim: number of the claim that it is a part of, from 1.
        text: the statement in words.
        kind: which test it has; the head of ``statements.toml`` describes each.
        settings: what the test takes, among all that is stated.
    """

    claim: int
    text: str
    kind: str
    settings: Mapping[str, Any]


def read_claims(file: Path = _FILE) -> tuple[list[str], list[Statement]]:
    """Return the texts of the claims, and the statements of all."""
    claims: Sequence[Mapping[str, Any]] = tomllib.loads(file.read_text(encoding="utf-8"))["claim"]
    statements = [
        Statement(
            number, stated["text"], stated["kind"], {k: v for k, v in stated.items() if k not in ("text", "kind")}
        )
        for number, claim in enumerate(claims, 1)
        for stated in claim["statement"]
    ]
    return [claim["text"] for claim in claims], statements
