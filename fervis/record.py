"""What is kept of an answer: raw arrays, figures, the manifest, the summary, all or nothing."""

from __future__ import annotations

import hashlib
import json
import platform
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

from fervis.atomic import whole_file, write_text
from fervis.contracts import RunCard
from fervis.engines.content import content_hash
from fervis.report import write_report
from fervis.results import Explanation, Figure

STAGING = ".partial"
PACKAGES = ("torch", "torchvision", "timm", "numpy", "matplotlib", "hydra-core", "omegaconf", "safetensors")


@dataclass
class Record:
    """What the manifest tells beside the question: how it was asked, when, how long it took, from what.

    Attributes:
        command: the command that asks the same again.
        card: name, hash and resolved config of the question.
        seed: root of all randomness.
        device: where the network ran.
        training: precision of the training; explanations are always fp32.
        started: UTC, ISO 8601.
        seconds: wall time by stage.
        hashes: SHA-256 of the faces and of the weights' file.
        warnings: what a reader should know before believing the answer.
    """

    command: str
    card: RunCard
    seed: int
    device: str
    training: str
    started: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    seconds: dict[str, float] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what happens inside."""
        begun = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - begun, 3)


def is_answered(folder: Path, cache: Path) -> bool:
    """Whether the folder holds a whole answer, and the files it was made from hold what they held then."""
    if not (folder / "summary.json").is_file():
        return False
    inputs = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["inputs"]
    return all(Path(path).exists() and content_hash(Path(path), cache) == held for path, held in inputs.items())


@contextmanager
def whole_answer(folder: Path) -> Iterator[Path]:
    """Yield an empty folder to write an answer into; when it is whole, move it to ``folder``, ``summary.json`` last."""
    staging = folder / STAGING
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


def write_answer(
    folder: Path,
    record: Record,
    explanation: Explanation,
    numbers: Mapping[str, float],
    figures: Sequence[Figure],
    sources: Sequence[Path],
    cache: Path,
) -> None:
    """Write config, arrays, manifest, summary and report into a folder that holds the figures."""
    config = yaml.safe_dump(record.card.config, sort_keys=False, allow_unicode=True)
    write_text(folder / "config.yaml", config)
    with whole_file(folder / "arrays.npz") as partial:
        np.savez_compressed(partial, allow_pickle=False, **arrays(explanation))
    manifest = {
        "fervis": version("fervis"),
        "command": record.command,
        "question_id": record.card.id,
        "versions": {"python": platform.python_version(), **installed()},
        "platform": platform.platform(),
        "hashes": {"config": hashlib.sha256(config.encode()).hexdigest(), **record.hashes},
        "inputs": {str(path.resolve()): content_hash(path, cache) for path in sources},
        "seed": record.seed,
        "device": record.device,
        "precision": "fp32",
        "training_precision": record.training,
        "started": record.started,
        "seconds": record.seconds,
        "warnings": record.warnings,
    }
    write_text(folder / "manifest.json", json.dumps(manifest, indent=1) + "\n")
    write_text(folder / "summary.json", json.dumps(summary(explanation, numbers, figures), indent=1) + "\n")
    write_report(folder)


def arrays(explanation: Explanation) -> dict[str, np.ndarray]:
    """The raw results with all that is needed to read them, one entry a face, layer and target."""
    result = explanation.result
    found = {
        "maps": result.maps.cpu().float().numpy(),
        "rows": explanation.faces.rows.numpy(),
        "labels": explanation.faces.labels.numpy(),
        "predictions": explanation.predictions.numpy(),
        "probabilities": explanation.probabilities.float().numpy(),
        "targets": np.array(explanation.targets),
        "layers": np.array(explanation.layers),
        "classes": np.array(explanation.classes),
    }
    if result.pixel_maps is not None:
        found["pixel_maps"] = result.pixel_maps.cpu().float().numpy()
    return found


def summary(explanation: Explanation, numbers: Mapping[str, float], figures: Sequence[Figure]) -> dict[str, Any]:
    """What an answer says in numbers and words."""
    layers = ", ".join(dict.fromkeys(explanation.layers))
    entries = [
        {
            "row": int(row),
            "label": label,
            "predicted": explanation.classes[int(guess)],
            "probability": round(float(probability[guess]), 6),
            "layer": layer,
            "target": target,
        }
        for row, label, guess, probability, layer, target in zip(
            explanation.faces.rows,
            label_names(explanation),
            explanation.predictions,
            explanation.probabilities,
            explanation.layers,
            explanation.targets,
            strict=True,
        )
    ]
    return {
        "title": f"{explanation.explainer} at {layers} of {explanation.model} on {explanation.dataset}",
        "entries": entries,
        "numbers": dict(numbers),
        "figures": [{"file": f"figures/{figure.path.name}", "caption": figure.caption} for figure in figures],
    }


def label_names(explanation: Explanation) -> list[str]:
    """The true class of each entry, ``?`` where the data does not tell."""
    return [explanation.faces.classes[int(label)] if label >= 0 else "?" for label in explanation.faces.labels]


def installed() -> dict[str, str]:
    """Versions of the packages that an answer depends on."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
