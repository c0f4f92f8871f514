"""Merge the shards of a run: `python -m fervis merge` makes one result of the chunks that several jobs explained."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fervis.core.folders import RunFolder
from fervis.errors import ConfigError, RunError
from fervis.runs.chunked.serialization import is_intact
from fervis.runs.config import (
    EXCLUDED_FROM_KEY,
    RunConfig,
    compose_config,
    run_folder,
    run_id,
    run_key,
    to_run_config,
)
from fervis.system.console import log
from fervis.system.files import CHUNKS_FOLDER, CHUNKS_METADATA, atomic_path, read_json

TRUST = "--trust"


def merge_runs(arguments: Sequence[str]) -> Path:
    """Join what the shards of a run explained into one result.

    A folder may come from somebody else, so that its config is taken as data: tracker and outputs are those of this
    command, and a config that would run a Python file is refused unless ``--trust`` is given.

    Args:
        arguments: the run folder, and those that other machines brought back, whose chunks are copied into the first;
            or the run itself as overrides, with further folders; ``--trust`` to run what the folder's config names.

    Returns:
        The run folder.

    Raises:
        ConfigError: a folder holds no shards, those of another run, or a config that is not trusted.
        RunError: images are missing.
    """
    overrides = [argument for argument in arguments if "=" in argument and not argument.startswith("-")]
    others = [Path(argument) for argument in arguments if argument not in overrides and argument != TRUST]
    typed: RunConfig | None = None
    if any(override.partition("=")[0].partition(".")[0] not in EXCLUDED_FROM_KEY for override in overrides):
        composed = compose_config(overrides)
        folder, typed = run_folder(composed), to_run_config(composed)
    elif others:
        folder = others.pop(0)
    else:
        raise ConfigError("merge: expected the run folder that the shards printed, or the run itself.")
    if (folder / RunFolder.SUMMARY).is_file() and not (folder / CHUNKS_METADATA).is_file():
        log.info("the run is complete already")
        return folder
    metadata = read_metadata_of(folder)
    config = typed or _stored_config(folder, metadata["run"], overrides, trusted=TRUST in arguments)
    for other in others:
        copy_chunks(other, folder, metadata)
    missing = metadata["blocks"] - len(chunk_files(folder))
    if missing:
        raise RunError(
            f"merge {folder}: {missing} of {metadata['blocks']} chunks of faces are missing; run the remaining "
            "shards, or run without shard=, which explains the rest."
        )
    return run_merged(folder, config, metadata["run"])


def _stored_config(folder: Path, stored: Mapping[str, Any], overrides: Sequence[str], *, trusted: bool) -> RunConfig:
    """Return the config that a run folder states, with the tracker, the outputs and the machine of this command.

    Raises:
        ConfigError: it would run code or resolve an interpolation, and the folder is not trusted.
    """
    config = RunConfig.from_plain(stored["config"])
    if trusted:
        return config
    source = config.code_source
    if source is not None:
        raise ConfigError(
            f"merge {folder}: its config runs the Python code of {source}; give {TRUST} where you trust the folder, or "
            "the run itself: merge key=value ..."
        )
    if "${" in json.dumps(stored["config"]):
        raise ConfigError(f"merge {folder}: its config holds an interpolation, which a run folder never states.")
    here = to_run_config(compose_config(overrides))
    typed = {override.partition("=")[0].partition(".")[0] for override in overrides}
    machine = {key: getattr(here, key) for key in ("device", "threads", "quiet", "outputs") if key in typed}
    return replace(config, **{"outputs": _outputs_of(folder), "tracker": here.tracker, **machine})


def _outputs_of(folder: Path) -> str:
    """Return the outputs folder that contains a run folder; the default one for a folder elsewhere."""
    parents = [folder.resolve(), *folder.resolve().parents]
    for depth, name in ((1, "runs"), (2, "sweeps")):
        if len(parents) > depth + 1 and parents[depth].name == name:
            return str(parents[depth + 1])
    return RunConfig.outputs


def read_metadata_of(folder: Path) -> dict[str, Any]:
    """Read the command, the config and the key of the run of these shards.

    Raises:
        ConfigError: the folder holds no shards.
    """
    if not (folder / CHUNKS_METADATA).is_file():
        raise ConfigError(f"merge {folder}: it holds no shards of a run; they are made with shard=1/4.")
    metadata = read_json(folder / CHUNKS_METADATA)
    stored = metadata.get("run")
    if (
        not isinstance(stored, dict)
        or not isinstance(stored.get("config"), dict)
        or not {"key", "blocks"} <= {*metadata}
    ):
        raise RunError(f"{folder / CHUNKS_METADATA}: it is damaged, or was written by another version of fervis.")
    return metadata


def chunk_files(folder: Path) -> list[Path]:
    """Return the complete chunks of a run folder; what a killed shard left half-written begins with a dot."""
    return [path for path in sorted((folder / CHUNKS_FOLDER).glob("[0-9]*.safetensors")) if is_intact(path)]


def copy_chunks(other: Path, folder: Path, metadata: dict[str, Any]) -> None:
    """Copy the chunks of another folder that are missing in this one.

    Raises:
        ConfigError: they are of another run, of other data, weights or versions.
    """
    other_metadata = read_metadata_of(other)
    differ = [key for key in metadata["key"] if other_metadata["key"].get(key) != metadata["key"][key]]
    if differ or other_metadata["blocks"] != metadata["blocks"]:
        raise ConfigError(f"merge {other}: its shards differ from those of {folder} in {', '.join(differ) or 'size'}.")
    for chunk in chunk_files(other):
        path = folder / CHUNKS_FOLDER / chunk.name
        if not is_intact(path):
            with atomic_path(path) as partial:
                shutil.copyfile(chunk, partial)


def run_merged(folder: Path, config: RunConfig, stored: Mapping[str, Any]) -> Path:
    """Complete a run whose chunks are all there.

    Raises:
        ConfigError: the data, weights, code or versions of this machine are not those of the shards.
    """
    from fervis.core.protocols import RunInfo
    from fervis.runs.run import run
    from fervis.system.threads import assume_cores

    cores = stored.get("cores")
    config = replace(config, shard=None, rerun=True)  # what the folder was before does not matter
    with assume_cores(cores if isinstance(cores, int) and cores > 0 else None):
        key = run_key(config)
        if key != stored.get("key"):
            raise ConfigError(
                f"merge {folder}: its shards were made from other data, weights, code or versions than are here; run "
                "it again without shard=."
            )
        tags = tuple(str(getattr(config, kind)["name"]) for kind in ("explainer", "model", "dataset"))
        plain = {**config.plain(), "rerun": False}
        card = RunInfo(folder.name, run_id(key), folder, plain, tags=tags, key=key)
        words = shlex.split(str(stored["command"]))
        command = shlex.join(word for word in words if not word.startswith(("shard=", "rerun=")))
        return run(config, folder, card, command)
