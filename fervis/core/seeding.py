"""Derive generators and seeds for each use of randomness from the run's seed."""

from __future__ import annotations

import hashlib

from torch import Generator


def generator_for(seed: int, use: str) -> Generator:
    """Return a generator for one use of randomness, so that no use changes what another draws."""
    return Generator().manual_seed(seed_for(seed, use))


def seed_for(seed: int, use: str) -> int:
    """63 bits from SHA-256 over the seed and the name of the use."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{use}".encode()).digest()[:8], "big") >> 1
