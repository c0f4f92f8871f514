"""Parsed copies of data sets: tensors kept whole in one file, named by the content they were parsed from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from fervis.errors import RunError
from fervis.system.files import atomic_path
from fervis.system.hashing import content_hash, forget_hash


def cached_tensors(
    sources: Sequence[Path], cache: Path, name: str, parse: Callable[[], dict[str, Tensor]]
) -> dict[str, Tensor]:
    """The tensors that ``parse`` makes of ``sources``, from the copy in ``cache`` where there is one.

    Args:
        sources: the files or folders that ``parse`` reads; their content names the copy.
        cache: folder of the copies.
        name: first part of the copy's name: the parser, its version and all that it depends on beside the content.
        parse: gives contiguous tensors by name. Where it raises, nothing is left in ``cache``.

    Raises:
        RunError: where the sources change while they are read.
    """
    try:
        hashes = [content_hash(source, cache) for source in sources]
        key = hashlib.sha256("".join(hashes).encode()).hexdigest()
        copy = cache / f"{name}-{key[:32]}.safetensors"
        if copy.exists():
            try:
                return load_file(copy)
            except SafetensorError:  # not as it was written: parse again and replace it
                pass
        tensors = parse()
        if [content_hash(source, cache) for source in sources] != hashes:
            raise RunError(f"{', '.join(map(str, sources))}: changed while it was read; ask again.")
    except BaseException:
        for source in sources:
            forget_hash(source, cache)
        raise
    with atomic_path(copy) as partial:
        save_file(tensors, partial)
    return tensors
