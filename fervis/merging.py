"""The shards of a question, joined: `python -m fervis merge` makes one answer of blocks that several jobs explained."""

from __future__ import annotations

import json
import logging
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fervis.atomic import ABOUT, BLOCKS, whole_file
from fervis.errors import RunFailed, WrongQuestion
from fervis.question import Question, ask_hydra, run_folder

log = logging.getLogger("fervis")


def merge(arguments: Sequence[str]) -> Path:
    """Join what the shards of a question explained into its answer.

    Args:
        arguments: the run folder, and those that other machines brought back, whose blocks are copied into the first;
            or the question itself, as overrides.

    Returns:
        The run folder.

    Raises:
        WrongQuestion: a folder holds no shards, or those of another question.
        RunFailed: faces are missing.
    """
    if not arguments:
        raise WrongQuestion("merge: expected the run folder that the shards printed, or the question itself.")
    if any("=" in argument for argument in arguments):
        folders = [run_folder(ask_hydra(arguments))]
    else:
        folders = [Path(argument) for argument in arguments]
    folder, *others = folders
    if (folder / "summary.json").is_file() and not (folder / ABOUT).is_file():
        log.info("it is one answer already")
        return folder
    told = about(folder)
    for other in others:
        bring(other, folder, told)
    missing = told["blocks"] - len(blocks_in(folder))
    if missing:
        raise RunFailed(
            f"merge {folder}: {missing} of {told['blocks']} blocks of faces are missing; run the shards that are "
            "left, or ask without shard=, which explains the rest."
        )
    return join(folder, told["asked"])


def about(folder: Path) -> dict[str, Any]:
    """How the question of these shards was asked.

    Raises:
        WrongQuestion: the folder holds no shards.
    """
    if not (folder / ABOUT).is_file():
        raise WrongQuestion(f"merge {folder}: it holds no shards of a question; they are made with shard=1/4.")
    return json.loads((folder / ABOUT).read_text(encoding="utf-8"))


def blocks_in(folder: Path) -> list[Path]:
    """The whole blocks of a run folder; what a killed shard left half-written begins with a dot."""
    return sorted((folder / BLOCKS).glob("[0-9]*.safetensors"))


def bring(other: Path, folder: Path, told: dict[str, Any]) -> None:
    """Copy the blocks that another folder has and this one lacks.

    Raises:
        WrongQuestion: they are of another question, of other data, weights or versions.
    """
    theirs = about(other)
    differ = [key for key in told["key"] if theirs["key"].get(key) != told["key"][key]]
    if differ or theirs["blocks"] != told["blocks"]:
        raise WrongQuestion(
            f"merge {other}: its shards differ from those of {folder} in {', '.join(differ) or 'size'}."
        )
    for block in blocks_in(other):
        place = folder / BLOCKS / block.name
        if not place.exists():
            with whole_file(place) as partial:
                shutil.copyfile(block, partial)


def join(folder: Path, asked: dict[str, Any]) -> Path:
    """Answer the question of blocks that are all there."""
    from fervis.answer import answer
    from fervis.contracts import RunCard

    config = asked["config"] | {"shard": None, "rerun": False}
    card = RunCard(asked["name"], asked["id"], folder, config, tags=tuple(asked["tags"]))
    told = ("shard=", "rerun=")
    command = shlex.join(word for word in shlex.split(asked["command"]) if not word.startswith(told))
    return answer(Question(**config | {"rerun": True}), folder, card, command)  # what it was before is no matter
