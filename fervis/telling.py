"""What a tracker is told of an answer, read from its folder so that a kept one can be told too, and of a training."""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from fervis.atomic import write_text
from fervis.contracts import FaceRow, RunCard, Tracker
from fervis.engines.drawing import number, painted, rgb, scale_of
from fervis.faces import Faces
from fervis.question import Question
from fervis.registry import build
from fervis.results import Figure

ROWS = 100  # a table with pictures grows heavy
KEPT = ("config.yaml", "manifest.json", "summary.json", "report.html", "*.npz", "*.csv", "figures/*")
FIRST = ("row", "layer", "target", "checkpoint", "true", "predicted", "probability")
log = logging.getLogger("fervis")


def tell_answer(tracker: Tracker, card: RunCard, faces: Faces) -> None:
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
            if rows := face_rows(summary["entries"], kept, faces):
                tracker.faces(rows)
            for name, counts in confusions(kept):
                tracker.confusion(name, counts, [str(word) for word in kept["classes"]])
    files = {str(path.relative_to(folder)): path for pattern in KEPT for path in sorted(folder.glob(pattern))}
    tracker.keep(f"answer-{card.id}", "answer", files)
    write_text(mark(card), fingerprint(card) + "\n")


def tell_kept(question: Question, card: RunCard) -> None:
    """Tell the tracker of an answer that was there already, unless this tracker was told of it before.

    The curves of a training belong to the run that trained, and are not told again.
    """
    name = question.tracker["name"]
    if name == "none":
        return
    if mark(card).is_file() and mark(card).read_text(encoding="utf-8").strip() == fingerprint(card):
        log.info("tracker=%s was told of this answer before (rerun=true tells it again)", name)
        return
    tracker: Tracker = build("tracker", question.tracker)
    faces = build("dataset", question.dataset).load(question.cache)
    whole = False
    tracker.start(card)
    try:
        tell_answer(tracker, card, faces)
        whole = True
    finally:
        tracker.finish(ok=whole)
    log.info("tracker=%s was told of the kept answer", name)


def tell_training(
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


def face_rows(entries: Sequence[Mapping[str, Any]], arrays: NpzFile, faces: Faces) -> list[FaceRow]:
    """The first hundred of a summary's entries as lines of a table; none where entries are not of faces.

    Each map is in colours on a scale of its own, which the line states. The arrays may be of more entries than the
    summary lists.
    """
    if not entries or not {"row", "label"} <= entries[0].keys():
        return []
    if len(entries) > ROWS:
        log.info("the tracker's table of faces has the first %d of %d entries", ROWS, len(entries))
    place = {int(row): number for number, row in enumerate(faces.rows)}
    shown = entries[:ROWS]
    where = positions(shown, arrays)
    maps = items_of(arrays, "maps", where) if "maps" in arrays else [None] * len(shown)
    probabilities = items_of(arrays, "probabilities", where)
    classes = [str(word) for word in arrays["classes"]]
    rows = []
    for entry, values, answers in zip(shown, maps, probabilities, strict=True):
        told = {"true" if name == "label" else name: word for name, word in entry.items()}
        told = {name: told[name] for name in sorted(told, key=lambda name: _order(name, told)) if _plain(told[name])}
        told |= {f"p({name})": round(float(value), 6) for name, value in zip(classes, answers, strict=True)}
        face = rgb(faces.images[place[int(entry["row"])]])
        rows.append(FaceRow(face, *_coloured(values), told))
    return rows


def _order(name: str, told: Mapping[str, Any]) -> int:
    return FIRST.index(name) if name in FIRST else len(FIRST) + list(told).index(name)


def _plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float)


def _coloured(values: NDArray[np.float32] | None) -> tuple[NDArray[np.uint8] | None, str]:
    """A map in its colours, and the values of the first and the last of them."""
    if values is None:
        return None, ""
    scale = scale_of(values, signed=bool((values < 0).any()))
    return painted(
        values, scale, "cividis" if scale.signed else "inferno"
    ), f"{number(scale.low)} to {number(scale.high)}"


def positions(entries: Sequence[Mapping[str, Any]], arrays: NpzFile) -> list[int]:
    """The number in an answer's arrays of each entry of its summary, by its face, layer, target and checkpoint."""
    names = {"row": "rows", "layer": "layers", "target": "targets", "checkpoint": "checkpoints"}
    given = [name for name in names if name in entries[0]]
    keys = zip(*(arrays[names[name]].tolist() for name in given), strict=True)
    number_of = {key: number for number, key in enumerate(keys)}
    return [number_of[tuple(entry[name] for name in given)] for entry in entries]


def items_of(arrays: NpzFile, name: str, where: Sequence[int]) -> NDArray[Any]:
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


def confusions(arrays: NpzFile) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """The confusion matrices among an answer's arrays, a name and [K,K] counts each; one a checkpoint."""
    if {"counts", "low", "high", "classes"} <= set(arrays):
        names = [str(word) for word in arrays["checkpoints"]]
        for name, counts in zip(names, arrays["counts"], strict=True):
            yield f"confusion_matrix/{name}" if len(names) > 1 else "confusion_matrix", counts


def mark(card: RunCard) -> Path:
    """The file that says which answer a tracker was told of last."""
    return card.folder / f".told_{card.config['tracker']['name']}"


def fingerprint(card: RunCard) -> str:
    """64 hex digits over the tracker's settings and the answer's summary."""
    settings = json.dumps(card.config["tracker"], sort_keys=True, default=str)
    return hashlib.sha256(settings.encode() + (card.folder / "summary.json").read_bytes()).hexdigest()
