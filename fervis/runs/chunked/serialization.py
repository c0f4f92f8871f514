"""Results as files, and in part: any result of entries is packed into tensors and plain data, and unpacked again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from fervis.core.faces import Faces
from fervis.core.results import Explanation, FeatureMaps, HeatMaps
from fervis.errors import ConfigError
from fervis.system.files import atomic_path

RESULT_KINDS = {kind.kind: kind for kind in (HeatMaps, FeatureMaps)}  # those whose entries are faces


def save_chunk(
    path: Path, explanation: Explanation, places: Sequence[int], numbers: Sequence[Mapping[str, float]]
) -> None:
    """Write an explanation of some faces into a file, whole or not at all.

    Args:
        path: of the file, safetensors.
        explanation: what is kept, but for the faces themselves.
        places: N positions of the entries' faces among the faces asked about.
        numbers: of each checkpoint.

    Raises:
        ConfigError: results of this kind cannot be kept in parts.
    """
    tensors, told = pack_result(explanation.result)
    tensors |= {"of/places": torch.tensor(places, dtype=torch.int64), "of/probabilities": explanation.probabilities}
    told |= {name: list(getattr(explanation, name)) for name in ("layers", "targets", "checkpoints", "classes")}
    told |= {name: getattr(explanation, name) for name in ("explainer", "model", "dataset")}
    metadata = {"told": json.dumps(told | {"numbers": [dict(one) for one in numbers]})}
    with atomic_path(path) as partial:
        save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, partial, metadata)


def load_chunk(path: Path, faces: Faces) -> tuple[Explanation, Tensor]:
    """What ``keep`` wrote: the explanation, and the places [N] int64 of its entries among ``faces``."""
    with safe_open(path, "pt") as file:
        told = json.loads(file.metadata()["told"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
    places, probabilities = tensors.pop("of/places"), tensors.pop("of/probabilities")
    explanation = Explanation(
        result=unpack_result(tensors, told),
        faces=faces.take(places),
        predictions=probabilities.argmax(1),
        probabilities=probabilities,
        **{name: tuple(told[name]) for name in ("layers", "targets", "checkpoints", "classes")},
        **{name: told[name] for name in ("explainer", "model", "dataset")},
    )
    return explanation, places


def read_chunk_numbers(path: Path) -> list[dict[str, float]]:
    """The numbers of each checkpoint that ``keep`` wrote."""
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["told"])["numbers"]


def entry_count(path: Path) -> int:
    """How many entries ``keep`` wrote."""
    with safe_open(path, "pt") as file:
        return file.get_slice("of/places").get_shape()[0]


def pack_result(result: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """A result's tensors by name, and all else as plain data that JSON can hold.

    Raises:
        ConfigError: results of this kind cannot be kept in parts.
    """
    if result.kind not in RESULT_KINDS:
        known = " and ".join(RESULT_KINDS)
        raise ConfigError(f"faces: results of kind {result.kind} cannot be kept in parts, as {known} can.")
    tensors: dict[str, Tensor] = {}
    plain: dict[str, Any] = {}
    for name in [f.name for f in fields(result)]:
        value = getattr(result, name)
        if isinstance(value, Tensor):
            tensors[name] = value
        elif isinstance(value, dict):
            tensors |= {f"{name}/{key}": one for key, one in value.items()}
            plain[name] = {"named": list(value)}
        elif isinstance(value, tuple) and value and isinstance(value[0], Tensor):
            tensors |= {f"{name}/{place}": one for place, one in enumerate(value)}
            plain[name] = {"tensors": len(value)}
        else:
            plain[name] = {"value": value}
    return tensors, {"kind": result.kind, "fields": plain}


def unpack_result(tensors: Mapping[str, Tensor], told: Mapping[str, Any]) -> Any:
    """The result that ``pack`` made these of."""
    values: dict[str, Any] = {}
    for f in fields(RESULT_KINDS[told["kind"]]):
        one = told["fields"].get(f.name)
        if one is None:
            values[f.name] = tensors[f.name]
        elif "named" in one:
            values[f.name] = {key: tensors[f"{f.name}/{key}"] for key in one["named"]}
        elif "tensors" in one:
            values[f.name] = tuple(tensors[f"{f.name}/{place}"] for place in range(one["tensors"]))
        else:
            values[f.name] = _tuple_fields(one["value"])
    return RESULT_KINDS[told["kind"]](**values)


def take_entries(explanation: Explanation, entries: Sequence[int]) -> Explanation:
    """The explanation of some of its entries, in that order."""
    index = torch.tensor(entries, dtype=torch.int64)
    result = explanation.result
    own = {f.name: _take_some(getattr(result, f.name), index) for f in fields(result)}
    return replace(
        explanation,
        result=replace(result, **own),
        faces=explanation.faces.take(index),
        predictions=explanation.predictions[index],
        probabilities=explanation.probabilities[index],
        **{name: _take_some(getattr(explanation, name), index) for name in ("layers", "targets", "checkpoints")},
    )


def _take_some(value: Any, index: Tensor) -> Any:
    if isinstance(value, Tensor):
        return value[index]
    if isinstance(value, dict):
        return {name: _take_some(one, index) for name, one in value.items()}
    if isinstance(value, tuple):
        return tuple(value[place] for place in index.tolist())
    return value


def _tuple_fields(value: Any) -> Any:
    """JSON's lists as the tuples they were."""
    return tuple(_tuple_fields(one) for one in value) if isinstance(value, list) else value
