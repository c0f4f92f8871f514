"""Cache of explanations under keys of their own, so that another visualizer, dpi or evidence reuses them.

The key is the hash of everything that determines the maps: the faces, the networks' weights and code, the explainer's
settings and code, layers, targets and seed. Explanations are stored in ``outputs/cache/``.
"""

from __future__ import annotations

import inspect
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from fervis import __version__
from fervis.core.faces import Faces
from fervis.core.results import Explanation, Result
from fervis.runs.artifacts import RunMetadata, installed_versions
from fervis.runs.chunked.chunks import Chunks, reopen_chunks
from fervis.runs.chunked.serialization import is_intact, load_chunk, read_chunk_numbers, save_chunk
from fervis.runs.inputs import RunInputs
from fervis.runs.setup import RunSetup
from fervis.system.files import CHUNKS_FOLDER
from fervis.system.hashing import content_hash, digest, file_hash
from fervis.system.tensor_hash import tensors_hash


def explanation_key(setup: RunSetup, record: RunMetadata, inputs: RunInputs) -> str:
    """Return 64 hex digits over everything that determines the maps of a run."""
    config = setup.config
    parts = {
        "data": record.hashes["data"],
        "rows": inputs.selected.rows.tolist(),
        "split": config.split,
        "weights": [tensors_hash(loaded.batch.model.state_dict()) for loaded in inputs.checkpoints],
        "model": config.model,
        "files": [content_hash(path, config.cache) for path in setup.files() if path.exists()],
        "epochs": [sorted(loaded.batch.epochs) for loaded in inputs.checkpoints],
        "history": [loaded.batch.history for loaded in inputs.checkpoints],
        "checkpoints": [loaded.checkpoint.name for loaded in inputs.checkpoints],
        "explainer": config.explainer,
        "code": [_code_hash(plugin) for plugin in (setup.explainer, setup.model)],
        "layers": [(layer.name, layer.path) for layer in inputs.layers],
        "target": config.target,
        "seed": config.seed,
        "device": setup.device.partition(":")[0],
        "versions": {"fervis": __version__, **installed_versions()},
    }
    return digest(parts)


def _code_hash(plugin: object) -> str:
    """Hash the module that defines a plug-in."""
    return file_hash(Path(inspect.getfile(type(plugin))))


def save_maps(
    cache: Path, key: str, explanation: Explanation, positions: Tensor, metrics: Sequence[dict[str, float]]
) -> None:
    """Save an explanation and the metrics of each checkpoint under its key."""
    save_chunk(_maps_file(cache, key), explanation, positions.tolist(), metrics)


def load_maps(setup: RunSetup, inputs: RunInputs, key: str) -> tuple[Explanation, list[dict[str, float]]] | None:
    """Return the explanation that was saved under a key, with the metrics of each checkpoint; None if there is none."""
    path = _maps_file(setup.config.cache, key)
    if not is_intact(path):
        return None
    explanation, _ = load_chunk(path, inputs.selected, setup.explainer.result)
    named = replace(explanation, model=str(setup.config.model["name"]), dataset=str(setup.config.dataset["name"]))
    return named, read_chunk_numbers(path)


def saved_chunks(cache: Path, key: str, faces: Faces, groups: int, kind: type[Result]) -> Chunks | None:
    """Return the chunks that were saved under a key, if all of them exist."""
    folder = _chunks_folder(cache, key)
    chunks = reopen_chunks(folder, faces, groups, kind)
    return chunks if chunks is not None and not chunks.missing() else None


def keep_chunks(chunks: Chunks, folder: Path, cache: Path, key: str) -> None:
    """Move the chunks of a finished run from its folder to their key."""
    target = _chunks_folder(cache, key)
    if chunks.folder.parent == target:
        return
    if target.exists():
        shutil.rmtree(chunks.folder)
        return
    target.mkdir(parents=True)
    chunks.folder.replace(target / CHUNKS_FOLDER)


def _maps_file(cache: Path, key: str) -> Path:
    return cache / f"maps-{key[:32]}.safetensors"


def _chunks_folder(cache: Path, key: str) -> Path:
    return cache / f"maps-{key[:32]}"
