"""Files that are complete or absent, with the mode that the umask gives."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from fervis.system.files import atomic_path


@pytest.fixture(params=[0o002, 0o022, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_a_file_has_the_mode_of_the_umask_whatever_its_writer_does(tmp_path: Path, umask: int):
    with atomic_path(tmp_path / "weights.safetensors") as partial:
        save_file({"weight": torch.zeros(2)}, partial)
        partial.chmod(0o600)
    assert (tmp_path / "weights.safetensors").stat().st_mode & 0o777 == 0o666 & ~umask


def test_nothing_is_left_of_a_writer_that_fails(tmp_path: Path):
    def write() -> None:
        with atomic_path(tmp_path / "a.json") as partial:
            partial.write_text("half")
            raise InterruptedError

    with pytest.raises(InterruptedError):
        write()
    assert list(tmp_path.iterdir()) == []
