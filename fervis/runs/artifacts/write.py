"""Write a run's artifacts: arrays, tables, config, summary, manifest and page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from fervis.core.folders import RunFolder
from fervis.core.results import Explanation, Figure, HeatMaps
from fervis.reporting.run_page import write_report
from fervis.runs.artifacts.metadata import RunMetadata, build_manifest, write_manifest
from fervis.runs.chunked.chunks import Chunks
from fervis.runs.image_table import write_image_table
from fervis.system.files import atomic_path, write_json, write_text
from fervis.system.hashing import content_hash


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
    """Write config, arrays, summary, manifest and report into a folder that holds the figures.

    Where the faces were explained in chunks, the arrays are of them all, and so is ``entries.csv``; ``explanation`` and
    with it the summary are of those that are shown.
    """
    files = RunFolder(folder)
    config = yaml.safe_dump(record.card.config, sort_keys=False, allow_unicode=True)
    write_text(files.config, config)
    if blocks is None:
        with atomic_path(files.arrays) as partial:
            np.savez_compressed(partial, allow_pickle=False, **run_arrays(explanation))
    else:
        blocks.write_arrays(files.arrays, run_arrays)
        blocks.write_table(files.entries, summary_table)
    summary = run_summary(explanation, numbers, figures)
    write_image_table(folder, explanation, summary["entries"])
    write_json(files.summary, summary)
    inputs = {str(path.resolve()): content_hash(path, cache) for path in sources}
    write_manifest(folder, build_manifest(record, config, inputs))
    write_report(folder)


def run_arrays(explanation: Explanation) -> dict[str, np.ndarray]:
    """Return the raw results with all that is needed to read them, entry by entry."""
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
    """Return the summary of a run: title, table, numbers and figures."""
    layers = ", ".join(dict.fromkeys(explanation.layers))
    return {
        "title": f"{explanation.explainer} at {layers} of {explanation.model} on {explanation.dataset}",
        **({"maps": map_facts(explanation.result)} if isinstance(explanation.result, HeatMaps) else {}),
        "entries": summary_table(explanation),
        "numbers": dict(numbers),
        "figures": [{"file": f"figures/{figure.path.name}", "caption": figure.caption} for figure in figures],
    }


def map_facts(result: HeatMaps) -> dict[str, Any]:
    """Return what the values of a run's maps are."""
    pixels = {} if result.pixel_maps is None else {"pixel_unit": result.pixel_unit}
    return {"unit": result.unit, **pixels, "signed": result.signed}


def summary_table(explanation: Explanation) -> list[dict[str, Any]]:
    """Return a row per entry: its face, where it was explained, and its result's own numbers."""
    several = explanation.several_checkpoints
    labels = explanation.faces.label_names()
    entries = []
    for number, (layer, target) in enumerate(zip(explanation.layers, explanation.targets, strict=True)):
        place = {
            "layer": layer,
            "target": target,
            **({"checkpoint": explanation.checkpoints[number]} if several else {}),
        }
        face = _face_columns(explanation, number, labels[number]) if explanation.of_faces else {}
        scores = _score_columns(explanation, number)
        words = {"sentence": explanation.sentences[number]} if explanation.sentences else {}
        entries.append(face | place | explanation.result.summary_row(number) | scores | words)
    return entries


def _score_columns(explanation: Explanation, number: int) -> dict[str, Any]:
    """Return the scores of one entry without those of baselines; None where a measure gives none."""
    scores = {name: float(values[number]) for name, values in explanation.evidence.items() if "/" not in name}
    return {name: round(score, 6) if score == score else None for name, score in scores.items()}


def _face_columns(explanation: Explanation, number: int, label: str) -> dict[str, Any]:
    """Return the face of an entry, and the network's prediction for it."""
    guess = int(explanation.predictions[number])
    names = explanation.faces.names
    return {
        "row": int(explanation.faces.rows[number]),
        **({"file": names[number]} if names else {}),
        "label": label,
        "predicted": explanation.classes[guess],
        "probability": round(float(explanation.probabilities[number, guess]), 6),
    }
