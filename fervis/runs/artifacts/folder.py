"""Run folders: complete or not, intact or damaged, fervis's own or somebody else's."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fervis.core.folders import RunFolder
from fervis.errors import ConfigError, RunError
from fervis.runs.artifacts.metadata import manifest_hash
from fervis.system.console import log
from fervis.system.files import read_json
from fervis.system.hashing import damaged_files


def is_complete(folder: Path, key: str, cache: Path, *, warn: bool = True) -> bool:
    """Return whether a folder holds the complete and intact result of the run with this key.

    A folder of another key, or of a version of fervis that stored none, is no error: its run is computed again.

    Args:
        folder: of a run.
        key: of the run that is wanted.
        cache: folder that remembers which folders were intact.
        warn: log what is damaged.
    """
    files = RunFolder(folder)
    if not files.summary.is_file():
        return False
    damage = _find_damage(files, key, cache)
    if damage and warn:
        log.warning("%s: %s; it is computed again", folder, damage)
    return damage == ""


def _find_damage(files: RunFolder, key: str, cache: Path) -> str | None:
    """Describe what is wrong with a folder that seems complete: empty for nothing, None if it is another run's."""
    try:
        manifest = read_json(files.manifest)
    except RunError as error:
        return str(error).removeprefix(f"{files.path}/").rstrip(".")
    if "sha256" not in manifest:
        return None
    if manifest["sha256"] != manifest_hash(manifest) or not isinstance(manifest.get("files"), dict):
        return f"{RunFolder.MANIFEST} is damaged"
    if manifest["key"] != key:
        return None
    damaged = damaged_files(files.path, manifest["files"], cache)
    if damaged:
        return f"{', '.join(damaged)} {'is' if len(damaged) == 1 else 'are'} damaged or missing"
    return "" if files.report.is_file() or _write_page(files) else f"{RunFolder.REPORT} is missing"


def _write_page(files: RunFolder) -> bool:
    """Write a page that was removed; False where the folder cannot be written."""
    from fervis.reporting.run_page import write_report

    try:
        write_report(files.path)
    except OSError:
        return False
    return True


@contextmanager
def atomic_run_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder to write a run into; when complete, move it to ``folder``, ``summary.json`` last.

    Raises:
        ConfigError: ``folder`` holds files that are not fervis's.
    """
    files = RunFolder(folder)
    claim_folder(folder)
    shutil.rmtree(files.staging, ignore_errors=True)
    files.staging.mkdir(parents=True)
    try:
        yield files.staging
        files.summary.unlink(missing_ok=True)
        for path in sorted(files.staging.iterdir(), key=lambda path: path.name == RunFolder.SUMMARY):
            target = folder / path.name
            if target.is_dir():
                shutil.rmtree(target)
            path.replace(target)
    finally:
        shutil.rmtree(files.staging, ignore_errors=True)


@contextmanager
def claimed_folder(folder: Path) -> Iterator[None]:
    """Work in a folder that is fervis's own; where nothing comes of it, leave it without the mark.

    Raises:
        ConfigError: as ``claim_folder``.
    """
    claim_folder(folder)
    try:
        yield
    finally:
        if [path.name for path in folder.iterdir()] == [RunFolder.MARKER]:
            RunFolder(folder).marker.unlink()


def claim_folder(folder: Path) -> None:
    """Mark a new or empty folder as fervis's own, so that later runs may replace its content.

    Raises:
        ConfigError: the folder is neither empty nor marked, nor a run folder of an earlier version.
    """
    files = RunFolder(folder)
    if not is_own_folder(folder):
        raise ConfigError(
            f"hydra.run.dir={folder}: the folder is not empty and not fervis's own; expected a new or an empty one."
        )
    folder.mkdir(parents=True, exist_ok=True)
    files.marker.touch()


def is_own_folder(folder: Path) -> bool:
    """Return whether fervis may replace the content of a folder: it is new, empty, or a run folder."""
    files = RunFolder(folder)
    if files.marker.is_file() or not folder.exists():
        return True
    if not folder.is_dir():
        return False
    if {path.name for path in folder.iterdir()} <= {RunFolder.FAILURE}:
        return not files.failure.exists() or {"error", "overrides"} <= _read_or_empty(files.failure).keys()
    manifest = _read_or_empty(files.manifest)  # versions before 0.2 left no marker
    return {"fervis", "question_id"} <= manifest.keys() or "run" in _read_or_empty(files.chunks_metadata)


def _read_or_empty(path: Path) -> dict[str, Any]:
    with suppress(RunError):
        return read_json(path)
    return {}
