"""Results as files, and in part: any result of entries is packed into tensors and plain data, and unpacked again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from fervis.core.faces import Faces
from fervis.core.results import Explanation, Result, take_from_result
from fervis.errors import RunError
from fervis.system.console import log
from fervis.system.files import atomic_path
from fervis.system.tensor_hash import tensors_hash


def save_chunk(
    path: Path, explanation: Explanation, positions: Sequence[int], numbers: Sequence[Mapping[str, float]]
) -> None:
    """Write an explanation of a part of the faces into a file, atomically.

    Args:
        path: path of the file, safetensors.
        explanation: what is saved, without the images of the faces.
        positions: N positions of the entries' faces among the faces of the run.
        numbers: the numbers of each checkpoint.
    """
    tensors, metadata = pack_result(explanation.result)
    tensors |= {
        "of/positions": torch.tensor(positions, dtype=torch.int64),
        "of/probabilities": explanation.probabilities,
    }
    metadata |= {name: list(getattr(explanation, name)) for name in ("layers", "targets", "checkpoints", "classes")}
    metadata |= {name: getattr(explanation, name) for name in ("explainer", "model", "dataset")}
    metadata |= {"numbers": [dict(table) for table in numbers]}
    tensors = _of_own_memory(tensors)
    metadata = json.loads(json.dumps(metadata))  # as it is read back: tuples become lists
    with atomic_path(path) as partial:
        save_file(tensors, partial, {"metadata": json.dumps(metadata), "sha256": tensors_hash(tensors, metadata)})


def load_chunk(path: Path, faces: Faces, kind: type[Result]) -> tuple[Explanation, Tensor]:
    """Return what ``save_chunk`` wrote: the explanation, and the positions [N] int64 of its entries among ``faces``.

    Args:
        path: path of the file.
        faces: the faces of the run.
        kind: class of the result, from the run's explainer: a file never decides which class is built from it.

    Raises:
        RunError: the file is damaged.
    """
    metadata, tensors = _read_chunk(path)
    positions, probabilities = tensors.pop("of/positions"), tensors.pop("of/probabilities")
    explanation = Explanation(
        result=unpack_result(tensors, metadata, kind),
        faces=faces.take(positions),
        predictions=probabilities.argmax(1),
        probabilities=probabilities,
        **{name: tuple(metadata[name]) for name in ("layers", "targets", "checkpoints", "classes")},
        **{name: metadata[name] for name in ("explainer", "model", "dataset")},
    )
    return explanation, positions


def _read_chunk(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the metadata and the tensors of a chunk's file, compared with the hash that was stored with them."""
    try:
        with safe_open(path, "pt") as file:
            stored = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
        metadata = json.loads(stored["metadata"])
        if stored["sha256"] == tensors_hash(tensors, metadata):
            return metadata, tensors
    except (SafetensorError, OSError, ValueError, KeyError, TypeError):
        pass
    raise RunError(f"{path}: it is damaged; run again without it.")


def is_intact(path: Path) -> bool:
    """Return whether a chunk's file exists and holds what ``save_chunk`` wrote; damage is logged."""
    return path.is_file() and _is_intact(path, path.stat().st_mtime_ns, path.stat().st_ctime_ns)


@cache
def _is_intact(path: Path, modified: int, changed: int) -> bool:
    """Return whether a file of these times is intact; each is read once."""
    try:
        _read_chunk(path)
    except RunError:
        log.warning("%s is damaged: its images are explained again", path)
        return False
    return True


def read_chunk_numbers(path: Path) -> list[dict[str, float]]:
    """Return the numbers of each checkpoint that ``save_chunk`` wrote."""
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["metadata"])["numbers"]


def entry_count(path: Path) -> int:
    """Return the number of entries of a chunk's file."""
    with safe_open(path, "pt") as file:
        return file.get_slice("of/positions").get_shape()[0]


def _of_own_memory(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors on the CPU; the format refuses two of the same memory, of which one is copied."""
    own: dict[str, Tensor] = {}
    places: set[int] = set()
    for name, given in tensors.items():
        tensor = given.detach().cpu().contiguous()
        place = tensor.untyped_storage().data_ptr()
        own[name] = tensor.clone() if place in places else tensor
        places.add(place)
    return own


def pack_result(result: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return a result's tensors by name, and all else as plain data that JSON can hold."""
    tensors: dict[str, Tensor] = {}
    plain: dict[str, Any] = {}
    for name in [f.name for f in fields(result)]:
        value = getattr(result, name)
        if isinstance(value, Tensor):
            tensors[name] = value
        elif isinstance(value, dict) and all(isinstance(item, Tensor) for item in value.values()):
            tensors |= {f"{name}/{key}": item for key, item in value.items()}
            plain[name] = {"named": list(value)}
        elif isinstance(value, dict) and all(isinstance(item, tuple) for item in value.values()):
            tensors |= {f"{name}/{key}/{index}": item for key, row in value.items() for index, item in enumerate(row)}
            plain[name] = {"rows": {key: len(row) for key, row in value.items()}}
        elif isinstance(value, tuple) and value and isinstance(value[0], Tensor):
            tensors |= {f"{name}/{index}": item for index, item in enumerate(value)}
            plain[name] = {"tensors": len(value)}
        else:
            plain[name] = {"value": value}
    return tensors, {"kind": result.kind, "fields": plain}


def unpack_result(tensors: Mapping[str, Tensor], metadata: Mapping[str, Any], kind: type[Result]) -> Any:
    """Return the result that ``pack_result`` took apart."""
    values: dict[str, Any] = {}
    for f in fields(kind):  # pyright: ignore[reportArgumentType]
        plain = metadata["fields"].get(f.name)
        if plain is None:
            values[f.name] = tensors[f.name]
        elif "named" in plain:
            values[f.name] = {key: tensors[f"{f.name}/{key}"] for key in plain["named"]}
        elif "rows" in plain:
            values[f.name] = {
                key: tuple(tensors[f"{f.name}/{key}/{index}"] for index in range(count))
                for key, count in plain["rows"].items()
            }
        elif "tensors" in plain:
            values[f.name] = tuple(tensors[f"{f.name}/{index}"] for index in range(plain["tensors"]))
        else:
            values[f.name] = _as_tuples(plain["value"])
    return kind(**values)


def take_entries(explanation: Explanation, entries: Sequence[int]) -> Explanation:
    """Return the explanation of some of its entries, in that order."""
    index = torch.tensor(entries, dtype=torch.int64)
    named = {
        name: tuple(getattr(explanation, name)[entry] for entry in entries)
        for name in ("layers", "targets", "checkpoints")
        if getattr(explanation, name)
    }
    return replace(
        explanation,
        result=take_from_result(explanation.result, index),
        faces=explanation.faces.take(index),
        predictions=explanation.predictions[index],
        probabilities=explanation.probabilities[index],
        evidence={name: scores[index] for name, scores in explanation.evidence.items()},
        **named,
    )


def _as_tuples(value: Any) -> Any:
    """Convert JSON's lists back to tuples."""
    return tuple(_as_tuples(item) for item in value) if isinstance(value, list) else value
