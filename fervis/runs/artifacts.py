"""What is kept of an answer: raw arrays, figures, the manifest, the summary, all or nothing."""

from __future__ import annotations

import hashlib
import json
import platform
import shlex
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from fervis.core.protocols import RunInfo
from fervis.core.results import Explanation, Figure
from fervis.reporting.run_page import write_report
from fervis.runs.chunked.chunks import Chunks
from fervis.system.files import STAGING_FOLDER, atomic_path, write_text
from fervis.system.hashing import content_hash

PACKAGES = ("torch", "torchvision", "timm", "numpy", "matplotlib", "hydra-core", "omegaconf", "safetensors")


@dataclass
class RunMetadata:
    """What the manifest tells beside the question: how it was asked, when, how long it took, from what.

    Attributes:
        command: the command that asks the same again.
        card: name, hash and resolved config of the question.
        seed: root of all randomness.
        device: where the network ran.
        training: precision of the training; explanations are always fp32.
        threads: that explained.
        started: UTC, ISO 8601.
        seconds: wall time by stage.
        hashes: SHA-256 of the faces and of the weights' file.
        warnings: what a reader should know before believing the answer.
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


def is_complete(folder: Path, cache: Path) -> bool:
    """Whether the folder holds a whole answer, and the files it was made from hold what they held then."""
    if not (folder / "summary.json").is_file():
        return False
    inputs = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["inputs"]
    return all(Path(path).exists() and content_hash(Path(path), cache) == held for path, held in inputs.items())


@contextmanager
def atomic_run_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder to write an answer into; when it is whole, move it to ``folder``, ``summary.json`` last."""
    staging = folder / STAGING_FOLDER
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        yield staging
        (folder / "summary.json").unlink(missing_ok=True)
        for path in sorted(staging.iterdir(), key=lambda path: path.name == "summary.json"):
            place = folder / path.name
            if place.is_dir():
                shutil.rmtree(place)
            path.replace(place)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def write_run(
    folder: Path,
    record: RunMetadata,
    explanation: Explanation,
    numbers: Mapping[str, float],
    figures: Sequence[Figure],
    sources: Sequence[Path],
    cache: Path,
    blocks: Chunks | None = None,
) -> None:
    """Write config, arrays, manifest, summary and report into a folder that holds the figures.

    Where the faces were explained by blocks, the arrays are of them all, and so is ``entries.csv``; ``explanation`` and
    with it the summary are of those that are shown.
    """
    config = yaml.safe_dump(record.card.config, sort_keys=False, allow_unicode=True)
    write_text(folder / "config.yaml", config)
    if blocks is None:
        with atomic_path(folder / "arrays.npz") as partial:
            np.savez_compressed(partial, allow_pickle=False, **run_arrays(explanation))
    else:
        blocks.write_arrays(folder / "arrays.npz", run_arrays)
        blocks.write_table(folder / "entries.csv", summary_table)
    inputs = {str(path.resolve()): content_hash(path, cache) for path in sources}
    manifest = build_manifest(record, config, inputs)
    write_text(folder / "manifest.json", json.dumps(manifest, indent=1) + "\n")
    write_text(folder / "summary.json", json.dumps(run_summary(explanation, numbers, figures), indent=1) + "\n")
    write_report(folder)


def build_manifest(record: RunMetadata, config: str, inputs: Mapping[str, str]) -> dict[str, Any]:
    """What the manifest says.

    Args:
        record: how the question was asked.
        config: the resolved question, as ``config.yaml`` states it.
        inputs: path -> content hash of the files that the answer comes from.
    """
    return {
        "fervis": version("fervis"),
        "command": record.command,
        "differs": dict(told.split("=", 1) for told in shlex.split(record.command) if "=" in told),
        "question_id": record.card.id,
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
    }


def run_arrays(explanation: Explanation) -> dict[str, np.ndarray]:
    """The raw results with all that is needed to read them, entry by entry."""
    names = {
        "targets": explanation.targets,
        "layers": explanation.layers,
        "checkpoints": explanation.checkpoints,
        "classes": explanation.classes,
    }
    found = {**explanation.result.arrays(), **{name: np.array(words) for name, words in names.items()}}
    if explanation.of_faces:
        found |= {f"scores/{name}": scores.numpy() for name, scores in explanation.evidence.items()}
        found |= {
            "rows": explanation.faces.rows.numpy(),
            "labels": explanation.faces.labels.numpy(),
            "predictions": explanation.predictions.numpy(),
            "probabilities": explanation.probabilities.float().numpy(),
        }
    return found


def run_summary(explanation: Explanation, numbers: Mapping[str, float], figures: Sequence[Figure]) -> dict[str, Any]:
    """What an answer says in numbers and words."""
    layers = ", ".join(dict.fromkeys(explanation.layers))
    return {
        "title": f"{explanation.explainer} at {layers} of {explanation.model} on {explanation.dataset}",
        "entries": summary_table(explanation),
        "numbers": dict(numbers),
        "figures": [{"file": f"figures/{figure.path.name}", "caption": figure.caption} for figure in figures],
    }


def summary_table(explanation: Explanation) -> list[dict[str, Any]]:
    """What is said of each entry: its face, where it was explained, and its result's own numbers."""
    several = explanation.several_checkpoints
    entries = []
    for number, (layer, target) in enumerate(zip(explanation.layers, explanation.targets, strict=True)):
        place = {
            "layer": layer,
            "target": target,
            **({"checkpoint": explanation.checkpoints[number]} if several else {}),
        }
        face = _face_columns(explanation, number) if explanation.of_faces else {}
        entries.append(face | place | explanation.result.summary_row(number) | _score_columns(explanation, number))
    return entries


def _score_columns(explanation: Explanation, number: int) -> dict[str, Any]:
    """The scores of one entry, those of baselines left out; None where a measure gives none."""
    scores = {name: float(values[number]) for name, values in explanation.evidence.items() if "/" not in name}
    return {name: round(score, 6) if score == score else None for name, score in scores.items()}


def _face_columns(explanation: Explanation, number: int) -> dict[str, Any]:
    """Which face an entry is of, and what the network says of it."""
    guess = int(explanation.predictions[number])
    return {
        "row": int(explanation.faces.rows[number]),
        "label": label_names(explanation)[number],
        "predicted": explanation.classes[guess],
        "probability": round(float(explanation.probabilities[number, guess]), 6),
    }


def label_names(explanation: Explanation) -> list[str]:
    """The true class of each entry, ``?`` where the data does not tell."""
    return [explanation.faces.classes[int(label)] if label >= 0 else "?" for label in explanation.faces.labels]


def installed_versions() -> dict[str, str]:
    """Versions of the packages that an answer depends on."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
