"""Take over a run that is complete in another folder, so that no sweep or study computes it again."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import yaml

from fervis.core.folders import RunFolder
from fervis.core.protocols import RunInfo
from fervis.reporting.run_page import write_report
from fervis.runs.artifacts.folder import atomic_run_folder, is_complete
from fervis.runs.artifacts.metadata import describe_command, write_manifest
from fervis.system.console import SUCCESS, log
from fervis.system.files import read_json, write_text


def reuse_run(outputs: Path, card: RunInfo, command: str) -> bool:
    """Copy the run of the same key from another folder below ``outputs`` into ``card.folder``, where there is one.

    Arrays and figures are linked, not copied, where the file system can. Config, manifest and page state the command
    that was given now; the manifest's ``origin`` names the folder that computed.

    Args:
        outputs: the folder of runs and sweeps.
        card: key, config and folder of the run that is wanted.
        command: the command that runs it.
    """
    origin = find_run(outputs, card)
    if origin is None:
        return False
    manifest = read_json(RunFolder(origin).manifest)
    with atomic_run_folder(card.folder) as staging:
        for name in manifest["files"]:
            _link(origin / name, staging / name)
        config = yaml.safe_dump(card.config, sort_keys=False, allow_unicode=True)
        RunFolder(staging).config.unlink()
        write_text(RunFolder(staging).config, config)
        hashes = {**manifest["hashes"], "config": hashlib.sha256(config.encode()).hexdigest()}
        place = manifest.get("origin", str(origin))
        write_manifest(staging, {**manifest, **describe_command(command), "hashes": hashes, "origin": place})
        write_report(staging)
    shutil.rmtree(RunFolder(card.folder).chunks, ignore_errors=True)
    log.info("computed before in %s", origin, extra=SUCCESS)
    return True


def find_run(outputs: Path, card: RunInfo) -> Path | None:
    """Return another folder below ``outputs`` that holds the complete run of this key; None where there is none."""
    cache = outputs / "cache"
    for pattern in (f"runs/*-{card.id}", f"sweeps/*/*-{card.id}"):
        for folder in sorted(outputs.glob(pattern)):
            if folder.resolve() != card.folder.resolve() and is_complete(folder, card.key, cache):
                return folder
    return None


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)
