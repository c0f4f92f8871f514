"""The shards of a question, joined: `python -m fervis merge` makes one answer of blocks that several jobs explained."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fervis.errors import ConfigError, RunError
from fervis.runs.chunked.serialization import is_intact
from fervis.runs.config import RunConfig, compose_config, run_folder
from fervis.system.console import log
from fervis.system.files import CHUNKS_FOLDER, CHUNKS_METADATA, atomic_path


def merge_runs(arguments: Sequence[str]) -> Path:
    """Join what the shards of a question explained into its answer.

    Args:
        arguments: the run folder, and those that other machines brought back, whose blocks are copied into the first;
            or the question itself, as overrides.

    Returns:
        The run folder.

    Raises:
        ConfigError: a folder holds no shards, or those of another question.
        RunError: faces are missing.
    """
    if not arguments:
        raise ConfigError("merge: expected the run folder that the shards printed, or the question itself.")
    if any("=" in argument for argument in arguments):
        folders = [run_folder(compose_config(arguments))]
    else:
        folders = [Path(argument) for argument in arguments]
    folder, *others = folders
    if (folder / "summary.json").is_file() and not (folder / CHUNKS_METADATA).is_file():
        log.info("it is one answer already")
        return folder
    told = read_metadata_of(folder)
    for other in others:
        copy_chunks(other, folder, told)
    missing = told["blocks"] - len(chunk_files(folder))
    if missing:
        raise RunError(
            f"merge {folder}: {missing} of {told['blocks']} blocks of faces are missing; run the shards that are "
            "left, or ask without shard=, which explains the rest."
        )
    return run_merged(folder, told["asked"])


def read_metadata_of(folder: Path) -> dict[str, Any]:
    """How the question of these shards was asked.

    Raises:
        ConfigError: the folder holds no shards.
    """
    if not (folder / CHUNKS_METADATA).is_file():
        raise ConfigError(f"merge {folder}: it holds no shards of a question; they are made with shard=1/4.")
    return json.loads((folder / CHUNKS_METADATA).read_text(encoding="utf-8"))


def chunk_files(folder: Path) -> list[Path]:
    """The whole blocks of a run folder; what a killed shard left half-written begins with a dot."""
    return [path for path in sorted((folder / CHUNKS_FOLDER).glob("[0-9]*.safetensors")) if is_intact(path)]


def copy_chunks(other: Path, folder: Path, told: dict[str, Any]) -> None:
    """Copy the blocks that another folder has and this one lacks.

    Raises:
        ConfigError: they are of another question, of other data, weights or versions.
    """
    theirs = read_metadata_of(other)
    differ = [key for key in told["key"] if theirs["key"].get(key) != told["key"][key]]
    if differ or theirs["blocks"] != told["blocks"]:
        raise ConfigError(f"merge {other}: its shards differ from those of {folder} in {', '.join(differ) or 'size'}.")
    for block in chunk_files(other):
        place = folder / CHUNKS_FOLDER / block.name
        if not is_intact(place):
            with atomic_path(place) as partial:
                shutil.copyfile(block, partial)


def run_merged(folder: Path, asked: dict[str, Any]) -> Path:
    """Answer the question of blocks that are all there."""
    from fervis.core.protocols import RunInfo
    from fervis.runs.run import run

    config = asked["config"] | {"shard": None, "rerun": False}
    card = RunInfo(asked["name"], asked["id"], folder, config, tags=tuple(asked["tags"]))
    told = ("shard=", "rerun=")
    command = shlex.join(word for word in shlex.split(asked["command"]) if not word.startswith(told))
    return run(RunConfig(**config | {"rerun": True}), folder, card, command)  # what it was before is no matter
