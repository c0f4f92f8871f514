"""Results as files: one ``.npz`` without pickles, and the maps of a run folder."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fervis.core.folders import RunFolder
from fervis.core.results.explained_maps import ExplainedMaps
from fervis.core.results.result import as_array
from fervis.errors import ConfigError
from fervis.system.files import atomic_path, read_json

_FORMAT = "fervis maps 1"
_TENSORS = ("maps", "pixel_maps", "errors", "rows")
_NAMED_TENSORS = ("scores", "extras", "images")
_WORDS = ("unit", "pixel_unit", "layer_unit", "signed", "layers", "targets", "explainer")


def save_maps_file(result: ExplainedMaps, path: Path) -> Path:
    """Write maps, images and names into one file; ``.npz`` is added to a name without it."""
    path = path if path.suffix == ".npz" else path.with_name(f"{path.name}.npz")
    arrays = {name: getattr(result, name) for name in _TENSORS if getattr(result, name) is not None}
    for table in _NAMED_TENSORS:
        arrays |= {f"{table}/{name}": values for name, values in (getattr(result, table) or {}).items()}
    metadata = {"format": _FORMAT, **{name: getattr(result, name) for name in _WORDS}}
    with atomic_path(path) as partial:
        np.savez_compressed(
            partial,
            allow_pickle=False,
            metadata=np.array(json.dumps(metadata)),
            **{name: as_array(values) for name, values in arrays.items()},
        )
    return path


def load_result(path: str | Path) -> ExplainedMaps:
    """Read the maps that ``save`` wrote, or those of a run folder.

    Args:
        path: the ``.npz`` file, or the folder of a run of an explainer of images.

    Returns:
        The maps with their layers, targets and images, on the CPU. Images of a run are those of its first hundred
        entries, and numbered by row of the data set.

    Raises:
        ConfigError: there is no such file, it is not one of fervis's, or the run has no maps.
    """
    path = Path(path)
    if path.is_dir():
        return _maps_of_run(RunFolder(path))
    arrays = _read_arrays(path)
    try:
        metadata = json.loads(str(arrays.pop("metadata", "{}")))
    except ValueError:
        metadata = {}
    if not isinstance(metadata, dict) or metadata.get("format") != _FORMAT:
        raise ConfigError(f"{path}: expected a file that result.save wrote, or a run folder.")
    tables: dict[str, dict[Any, Tensor]] = {name: {} for name in _NAMED_TENSORS}
    for key, values in arrays.items():
        table, _, name = key.partition("/")
        if name:
            tables[table][int(name) if table == "images" else name] = torch.from_numpy(values)
    words: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in metadata.items()
    }
    tensors: dict[str, Any] = {name: torch.from_numpy(arrays[name]) for name in _TENSORS if name in arrays}
    del words["format"]
    return ExplainedMaps(
        **tensors, **words, scores=tables["scores"] or None, extras=tables["extras"] or None, images=tables["images"]
    )


def _maps_of_run(files: RunFolder) -> ExplainedMaps:
    """Return the maps of a complete run."""
    if not files.summary.is_file():
        raise ConfigError(f"{files.path}: it holds no answer ({RunFolder.SUMMARY}).")
    summary, arrays = read_json(files.summary), _read_arrays(files.arrays)
    if arrays.get("maps", np.zeros(0)).ndim != 3 or len(arrays["maps"]) != len(arrays.get("rows", ())):
        raise ConfigError(f"{files.path}: its answer has no map per image; expected a run of an explainer of images.")
    maps, stated = arrays["maps"], _table(summary, "maps")
    scores = {name: values for name, values in arrays.items() if name.startswith("scores/")}
    tensors: dict[str, Any] = {name: torch.from_numpy(arrays[name]) for name in _TENSORS if name in arrays}
    return ExplainedMaps(
        **tensors,
        unit=str(stated.get("unit", "")),
        pixel_unit=str(stated.get("pixel_unit", "")),
        signed=bool(stated.get("signed", (maps < 0).any())),
        scores={name.removeprefix("scores/"): torch.from_numpy(values) for name, values in scores.items()} or None,
        layers=tuple(map(str, arrays["layers"])),
        targets=tuple(map(str, arrays["targets"])),
        images=_images_of_run(files, maps.shape[1:], arrays["rows"]),
        explainer=str(summary.get("title", "")).partition(" at ")[0],
    )


def _images_of_run(files: RunFolder, size: tuple[int, ...], rows: NDArray[Any]) -> dict[int, Tensor]:
    """Return the faces of a run's table of images that have the size of its maps, by row of the data set."""
    if not files.image_table.is_file():
        return {}
    table = _read_arrays(files.image_table)
    if table["faces"].shape[1:3] != size or len(rows) < len(table["face_of_entry"]):
        return {}
    pairs = zip(rows.tolist(), table["face_of_entry"].tolist(), strict=False)
    return {row: torch.from_numpy(table["faces"][face]).permute(2, 0, 1) for row, face in pairs}


def _table(record: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = record.get(name)
    return value if isinstance(value, dict) else {}


def _read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    if not path.is_file():
        raise ConfigError(f"{path}: there is no such file.")
    try:
        file = np.load(path, allow_pickle=False)
        if isinstance(file, np.ndarray):
            raise ConfigError(f"{path}: expected an .npz file.")
        with file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise ConfigError(f"{path}: it cannot be read as .npz without pickles ({error}).") from error
