"""What a tracker is told of an answer, read from its folder so that a kept one can be told too, and of a training."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from fervis.core.faces import Faces
from fervis.core.intervals import format_number
from fervis.core.protocols import ImageRow, RunInfo, Tracker
from fervis.core.registry import build_plugin
from fervis.core.results import Figure
from fervis.runs.config import RunConfig
from fervis.system.console import log
from fervis.system.files import write_text
from fervis.visualizers.figures.color import colorize, scale_of, to_rgb

TRACKED_ROWS = 100  # a table with pictures grows heavy
ARTIFACT_PATTERNS = ("config.yaml", "manifest.json", "summary.json", "report.html", "*.npz", "*.csv", "figures/*")
FIRST_COLUMNS = ("row", "layer", "target", "checkpoint", "true", "predicted", "probability")


def track_run(tracker: Tracker, card: RunInfo, faces: Faces) -> None:
    """Tell a tracker that follows the run all that a whole answer's folder holds.

    Its numbers, its figures, its table of faces, its confusion matrices, and its files as an artifact.

    Args:
        tracker: started and not finished.
        card: of the run; the answer lies in ``card.folder``.
        faces: of the data set; at least those that the answer is of.
    """
    if card.config["tracker"]["name"] == "none":  # to read and paint it all again is not free
        return
    folder = card.folder
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    tracker.log(summary["numbers"])
    for figure in summary["figures"]:
        tracker.picture(Path(figure["file"]).stem, Figure(folder / figure["file"], figure["caption"]))
    arrays = folder / "arrays.npz"
    if arrays.is_file():
        with np.load(arrays, allow_pickle=False) as kept:
            if rows := image_rows(summary["entries"], kept, faces):
                tracker.faces(rows)
            for name, counts in confusion_counts_of(kept):
                tracker.confusion(name, counts, [str(word) for word in kept["classes"]])
    files = {
        str(path.relative_to(folder)): path for pattern in ARTIFACT_PATTERNS for path in sorted(folder.glob(pattern))
    }
    tracker.keep(f"answer-{card.id}", "answer", files)
    write_text(tracked_marker(card), tracker_fingerprint(card) + "\n")


def track_existing_run(question: RunConfig, card: RunInfo) -> None:
    """Tell the tracker of an answer that was there already, unless this tracker was told of it before.

    The curves of a training belong to the run that trained, and are not told again.
    """
    name = question.tracker["name"]
    if name == "none":
        return
    if tracked_marker(card).is_file() and tracked_marker(card).read_text(
        encoding="utf-8"
    ).strip() == tracker_fingerprint(card):
        log.info("tracker=%s was told of this answer before (rerun=true tells it again)", name)
        return
    tracker: Tracker = build_plugin("tracker", question.tracker)
    faces = build_plugin("dataset", question.dataset).load(question.cache)
    whole = False
    tracker.start(card)
    try:
        track_run(tracker, card, faces)
        whole = True
    finally:
        tracker.finish(ok=whole)
    log.info("tracker=%s was told of the kept answer", name)


def track_training(
    tracker: Tracker,
    folder: Path,
    history: Mapping[str, Any],
    report: Mapping[str, Any],
    numbers: Mapping[str, float],
    figures: Sequence[Figure],
) -> None:
    """Tell a tracker what an assessed training is worth, and hand it the best and the last weights with their card.

    Args:
        tracker: started and not finished; it knows the epochs.
        folder: of the training.
        history: the training's record.
        report: the evaluation's.
        numbers: the report's, those worth a column.
        figures: of the training.
    """
    tracker.log({"best": float(history["best"]), **numbers})
    for figure in figures:
        tracker.picture(figure.path.stem, figure)
    if "test" in report["results"]:
        counts = report["results"]["test"]["none"]["full"]["confusion"]["counts"]
        tracker.confusion("confusion_matrix/test", np.array(counts, np.int64), report["classes"])
    files = {f"{word}.safetensors": folder / f"epoch_{history[word]:03d}.safetensors" for word in ("best", "last")}
    files |= {name: folder / name for name in ("card.md", "evaluation.json", "metrics.csv")}
    tracker.keep(folder.name, "model", {name: path for name, path in files.items() if path.is_file()})


def image_rows(entries: Sequence[Mapping[str, Any]], arrays: NpzFile, faces: Faces) -> list[ImageRow]:
    """The first hundred of a summary's entries as lines of a table; none where entries are not of faces.

    Each map is in colours on a scale of its own, which the line states. The arrays may be of more entries than the
    summary lists.
    """
    if not entries or not {"row", "label"} <= entries[0].keys():
        return []
    if len(entries) > TRACKED_ROWS:
        log.info("the tracker's table of faces has the first %d of %d entries", TRACKED_ROWS, len(entries))
    place = {int(row): number for number, row in enumerate(faces.rows)}
    shown = entries[:TRACKED_ROWS]
    where = array_offsets(shown, arrays)
    maps = array_items(arrays, "maps", where) if "maps" in arrays else [None] * len(shown)
    probabilities = array_items(arrays, "probabilities", where)
    classes = [str(word) for word in arrays["classes"]]
    rows = []
    for entry, values, answers in zip(shown, maps, probabilities, strict=True):
        told = {"true" if name == "label" else name: word for name, word in entry.items()}
        told = {
            name: told[name] for name in sorted(told, key=lambda name: _column_order(name, told)) if _plain(told[name])
        }
        told |= {f"p({name})": round(float(value), 6) for name, value in zip(classes, answers, strict=True)}
        face = to_rgb(faces.images[place[int(entry["row"])]])
        rows.append(ImageRow(face, *_colored_map(values), told))
    return rows


def _column_order(name: str, told: Mapping[str, Any]) -> int:
    return FIRST_COLUMNS.index(name) if name in FIRST_COLUMNS else len(FIRST_COLUMNS) + list(told).index(name)


def _plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float)


def _colored_map(values: NDArray[np.float32] | None) -> tuple[NDArray[np.uint8] | None, str]:
    """A map in its colours, and the values of the first and the last of them."""
    if values is None:
        return None, ""
    scale = scale_of(values, signed=bool((values < 0).any()))
    return colorize(
        values, scale, "cividis" if scale.signed else "inferno"
    ), f"{format_number(scale.low)} to {format_number(scale.high)}"


def array_offsets(entries: Sequence[Mapping[str, Any]], arrays: NpzFile) -> list[int]:
    """The number in an answer's arrays of each entry of its summary, by its face, layer, target and checkpoint."""
    names = {"row": "rows", "layer": "layers", "target": "targets", "checkpoint": "checkpoints"}
    given = [name for name in names if name in entries[0]]
    keys = zip(*(arrays[names[name]].tolist() for name in given), strict=True)
    number_of = {key: number for number, key in enumerate(keys)}
    return [number_of[tuple(entry[name] for name in given)] for entry in entries]


def array_items(arrays: NpzFile, name: str, where: Sequence[int]) -> NDArray[Any]:
    """Items of an array of an ``.npz`` by number, without holding the others, however many there are."""
    assert arrays.zip is not None, "the file is open"
    with arrays.zip.open(f"{name}.npy") as file:
        version = npy.read_magic(file)
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, by_column, dtype = read_header(file)
        assert not by_column, "fervis writes row by row"
        begin, size = file.tell(), dtype.itemsize * math.prod(shape[1:])
        found = np.empty((len(where), *shape[1:]), dtype)
        for place in sorted(range(len(where)), key=where.__getitem__):  # a packed file is read from front to back
            file.seek(begin + where[place] * size)
            found[place] = np.frombuffer(file.read(size), dtype).reshape(shape[1:])
    return found


def confusion_counts_of(arrays: NpzFile) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """The confusion matrices among an answer's arrays, a name and [K,K] counts each; one a checkpoint."""
    if {"counts", "low", "high", "classes"} <= set(arrays):
        names = [str(word) for word in arrays["checkpoints"]]
        for name, counts in zip(names, arrays["counts"], strict=True):
            yield f"confusion_matrix/{name}" if len(names) > 1 else "confusion_matrix", counts


def tracked_marker(card: RunInfo) -> Path:
    """The file that says which answer a tracker was told of last."""
    return card.folder / f".told_{card.config['tracker']['name']}"


def tracker_fingerprint(card: RunInfo) -> str:
    """64 hex digits over the tracker's settings and the answer's summary."""
    settings = json.dumps(card.config["tracker"], sort_keys=True, default=str)
    return hashlib.sha256(settings.encode() + (card.folder / "summary.json").read_bytes()).hexdigest()
