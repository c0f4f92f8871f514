"""What tests share: small networks of every awkward kind, and the command as a user runs it."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from support.command import ROOT
from torch import nn
from torch.nn import functional as F


class Residual(nn.Module):
    """Two branches, the second of which goes round the first."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.bypass, self.relu, self.head = nn.Conv2d(1, 4, 1), nn.ReLU(), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head((self.relu(self.conv2(self.conv1(x).tanh())) + self.bypass(x)).mean((2, 3)))


class InPlace(nn.Module):
    """An in-place ReLU right after the convolution that is asked for, and one on the input."""

    def __init__(self, inplace: bool) -> None:
        super().__init__()
        self.relu0, self.relu1 = nn.ReLU(inplace), nn.ReLU(inplace)
        self.conv1, self.conv2, self.head = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(F.relu(self.conv2(self.relu1(self.conv1(self.relu0(x))))).mean((2, 3)))


@pytest.fixture(autouse=True)
def fervis_says_nothing() -> Iterator[None]:
    """After a test that ran the command in this process, the next one's log goes where it went before."""
    log = logging.getLogger("fervis")
    before = log.handlers[:], log.level, log.propagate
    yield
    log.handlers[:], log.propagate = before[0], before[2]
    log.setLevel(before[1])


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def residual() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Residual()


@pytest.fixture
def in_place() -> Callable[[bool], nn.Module]:
    def build(inplace: bool) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return InPlace(inplace)

    return build


@pytest.fixture(scope="session")
def fervis(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run ``python -m fervis`` in a folder of its own; all runs of a session share trained networks and faces."""
    shared = tmp_path_factory.mktemp("fervis")

    def run(*arguments: str, cwd: Path = shared, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-W", "error::DeprecationWarning:fervis", "-m", "fervis", *arguments],
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            capture_output=True,
            text=True,
            timeout=600,
        )

    return run
