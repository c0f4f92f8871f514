"""Recognize the folders and files of an outputs folder that fervis made: by their content, never by name alone."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from typing import Any

from fervis.core.folders import RunFolder
from fervis.system.files import CHUNKS_METADATA, STAGING_FOLDER
from fervis.system.locks import lock_path

EPOCH = re.compile(r"epoch_(\d+)\.safetensors")
CACHE_FILE = re.compile(r"[\w-]+-[0-9a-f]{32}\.safetensors|content-[0-9a-f]{16}\.json")
PARTIAL_NAME = re.compile(r"\..+\.(\d+)\.partial(\.\w+)?")
PARTIAL_MAX_AGE = 3600.0
HEADER_LIMIT = 1 << 24  # bytes of a safetensors header that are read


def read_json_record(path: Path) -> dict[str, Any]:
    """Return a JSON object; empty where the file is missing, damaged or something else."""
    try:
        record = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def is_run(outputs: Path, folder: Path) -> bool:
    """Whether a folder is that of a run: an answer, a failure, or what a process of fervis has begun there."""
    if (folder / RunFolder.MARKER).is_file():
        return True
    manifest, failure = read_json_record(folder / "manifest.json"), read_json_record(folder / "failure.json")
    answered = "fervis" in manifest and "hashes" in manifest
    failed = {"error", "code", "overrides"} <= failure.keys()
    return answered or failed or "key" in read_json_record(folder / CHUNKS_METADATA) or is_begun(outputs, folder)


def is_begun(outputs: Path, folder: Path) -> bool:
    """Whether a process of fervis has begun to work on a folder and left nothing that is whole."""
    paths = [path for path in folder.iterdir() if path.name != RunFolder.MARKER]
    own = len(paths) < len(list(folder.iterdir())) or lock_path(outputs, folder).is_file()
    return own and all(is_unfinished(path) and not path.is_symlink() for path in paths)


def is_unfinished(path: Path) -> bool:
    """Whether a name is one of those that fervis writes under until something is whole."""
    return path.name == STAGING_FOLDER or bool(PARTIAL_NAME.fullmatch(path.name))


def is_sweep(outputs: Path, folder: Path) -> bool:
    """Whether a folder is that of a sweep: one of its jobs is a run, or Hydra recorded a sweep of fervis there."""
    kept = folder / "multirun.yaml"
    try:
        hydra = kept.read_text(encoding="utf-8") if kept.is_file() else ""
    except (OSError, ValueError):
        hydra = ""
    own = re.search(r"^  job:\n(    .*\n)*?    name: fervis$", hydra, re.MULTILINE)
    return own is not None or any(is_run(outputs, job) for job in folders_in(folder))


def is_training(outputs: Path, folder: Path) -> bool:
    """Whether a folder is that of a trained network, or of a training that was begun."""
    if {"best", "last", "trainer"} <= read_json_record(folder / "training.json").keys():
        return True
    return "course" in _safetensors_metadata(folder / "course.safetensors") or is_begun(outputs, folder)


def is_training_summary(folder: Path) -> bool:
    """Whether a folder is that of a summary of trainings that differ in the seed."""
    return {"trainings", "runs", "ensemble"} <= read_json_record(folder / "summary.json").keys()


def _safetensors_metadata(path: Path) -> dict[str, Any]:
    """Return the metadata of a safetensors file without its library, which needs NumPy; empty for other files."""
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size)) if size <= HEADER_LIMIT else {}
    except (OSError, ValueError):
        return {}
    metadata = header.get("__metadata__", {}) if isinstance(header, dict) else {}
    return metadata if isinstance(metadata, dict) else {}


def epoch_number(path: Path) -> int | None:
    """Return the epoch of a file of weights; None for any other."""
    found = EPOCH.fullmatch(path.name)
    return int(found[1]) if found else None


def is_abandoned(path: Path) -> bool:
    """Whether a partial file was left by a dead process; one of another machine would have ended within the hour."""
    found = PARTIAL_NAME.fullmatch(path.name)
    return bool(found) and not _is_alive(int(found[1])) and time.time() - path.lstat().st_mtime > PARTIAL_MAX_AGE


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def list_entries(folder: Path) -> list[Path]:
    """Return the files and folders in a folder that is no link, without links."""
    if folder.is_symlink() or not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if not path.is_symlink())


def folders_in(folder: Path) -> list[Path]:
    """Return the folders in a folder, without links."""
    return [path for path in list_entries(folder) if path.is_dir()]


def files_in(folder: Path) -> list[Path]:
    """Return the files in a folder, without links."""
    return [path for path in list_entries(folder) if path.is_file()]
