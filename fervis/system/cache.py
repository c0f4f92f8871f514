"""Parsed copies of data sets: tensors in one file each, named by the content they were parsed from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from fervis.errors import RunError
from fervis.system.console import log
from fervis.system.files import atomic_path, read_json, write_json
from fervis.system.hashing import content_hash, damaged_files, digest, file_hash, forget_hash


def cached_tensors(
    sources: Sequence[Path], cache: Path, name: str, parse: Callable[[], dict[str, Tensor]]
) -> dict[str, Tensor]:
    """Return the tensors that ``parse`` makes of ``sources``, from the copy in ``cache`` where there is an intact one.

    Args:
        sources: the files or folders that ``parse`` reads; their content names the copy.
        cache: folder of the copies.
        name: first part of the copy's name: the parser, its version and all that it depends on besides the content.
        parse: gives contiguous tensors by name. Where it raises, nothing is left in ``cache``.

    Raises:
        RunError: the sources changed while they were read.
    """
    try:
        hashes = [content_hash(source, cache) for source in sources]
        copy = cache / f"{name}-{digest(hashes, 32)}.safetensors"
        if (tensors := _read_copy(copy)) is not None:
            return tensors
        tensors = parse()
        if [content_hash(source, cache) for source in sources] != hashes:
            raise RunError(f"{', '.join(map(str, sources))}: changed while it was read; run again.")
    except BaseException:
        for source in sources:
            forget_hash(source, cache)
        raise
    _write_copy(copy, tensors)
    return tensors


def _read_copy(copy: Path) -> dict[str, Tensor] | None:
    """Return the tensors of a copy that holds the bytes it was written with; None if there is no such copy."""
    if not copy.is_file():
        return None
    try:
        expected = {copy.name: str(read_json(_hash_file(copy))["sha256"])}
        if not damaged_files(copy.parent, expected, copy.parent):
            return load_file(copy)
        log.warning("%s is damaged: parsing the data again", copy)
    except (RunError, KeyError):  # written by an earlier version, or cut off before its hash was written
        pass
    except (SafetensorError, OSError):  # removed or replaced since
        pass
    return None


def _write_copy(copy: Path, tensors: dict[str, Tensor]) -> None:
    with atomic_path(copy) as partial:
        save_file(tensors, partial)
        hashed = file_hash(partial)
    write_json(_hash_file(copy), {"sha256": hashed})


def _hash_file(copy: Path) -> Path:
    return copy.with_suffix(".json")
