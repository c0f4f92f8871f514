"""Contents of a run's manifest besides the config: how it was run, from which data, and the hashes of its files."""

from __future__ import annotations

import hashlib
import platform
import shlex
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from fervis import __version__
from fervis.core.folders import RunFolder
from fervis.core.protocols import RunInfo
from fervis.models.pretrained import pretrained_recipe
from fervis.system.files import write_json
from fervis.system.hashing import digest, file_hash

_PACKAGES = ("torch", "torchvision", "timm", "numpy", "matplotlib", "hydra-core", "omegaconf", "safetensors")
_UNHASHED = (RunFolder.MANIFEST, RunFolder.REPORT)  # the page can be written again from the others


@dataclass
class RunMetadata:
    """Contents of the manifest besides the config: how and when it was run, how long it took, and from which data.

    Attributes:
        command: the command that runs the same again.
        card: name, key and resolved config of the run.
        seed: root of all randomness.
        device: where the network ran.
        training: precision of the training; explanations are always fp32.
        threads: that explained.
        started: UTC, ISO 8601.
        seconds: wall time by stage.
        hashes: SHA-256 of the faces and of the weights' file.
        warnings: reasons to doubt the result, for its reader.
    """

    command: str
    card: RunInfo
    seed: int
    device: str
    training: str
    threads: int
    started: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    seconds: dict[str, float] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what happens inside."""
        begun = time.perf_counter()
        yield
        self.seconds[name] = round(self.seconds.get(name, 0) + time.perf_counter() - begun, 3)


def build_manifest(record: RunMetadata, config: str, inputs: Mapping[str, str]) -> dict[str, Any]:
    """Return what the manifest states, but for the hashes of the files.

    Args:
        record: how the config was run.
        config: the resolved config, as ``config.yaml`` states it.
        inputs: path -> content hash of the files that the result comes from.
    """
    return {
        "fervis": __version__,
        "key": record.card.key,
        **describe_command(record.command),
        "question_id": record.card.id,
        **(
            {"sweep": record.card.group}
            if record.card.group and record.card.folder.parent.name == record.card.group
            else {}
        ),
        "versions": {"python": platform.python_version(), **installed_versions()},
        "platform": platform.platform(),
        "hashes": {"config": hashlib.sha256(config.encode()).hexdigest(), **record.hashes},
        "inputs": dict(inputs),
        "seed": record.seed,
        "device": record.device,
        "precision": "fp32",
        "training_precision": record.training,
        "threads": record.threads,
        "started": record.started,
        "seconds": record.seconds,
        "warnings": record.warnings,
        **({"pretrained": recipe} if (recipe := _recipe_of(record.card.config["model"])) else {}),
    }


def _sweep_of(info: RunInfo) -> dict[str, str]:
    """Return the sweep whose folder contains the run, for its page's link; the group of a study's part is none."""
    return {"sweep": info.group} if info.group and info.folder.parent.name == info.group else {}


def _recipe_of(model: Mapping[str, Any]) -> dict[str, Any]:
    """Return how the weights that come with fervis were trained, in all stages; empty for other weights."""
    if not model.get("weights") or model.get("checkpoint"):
        return {}
    return pretrained_recipe(str(model["name"]), str(model["weights"]))


def describe_command(command: str) -> dict[str, Any]:
    """Return how the manifest states a command, and the overrides in which it differs from the defaults."""
    return {"command": command, "differs": dict(word.split("=", 1) for word in shlex.split(command) if "=" in word)}


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write the manifest of a folder whose other files are there, with their hashes and its own."""
    hashes = {
        path.relative_to(folder).as_posix(): file_hash(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".") and path.name not in _UNHASHED
    }
    complete = {**manifest, "files": hashes}
    write_json(folder / RunFolder.MANIFEST, {**complete, "sha256": manifest_hash(complete)})


def manifest_hash(manifest: Mapping[str, Any]) -> str:
    """Return the hash of all else that a manifest states."""
    return digest({key: value for key, value in manifest.items() if key != "sha256"})


def installed_versions() -> dict[str, str]:
    """Return the versions of the packages that a result depends on."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions
