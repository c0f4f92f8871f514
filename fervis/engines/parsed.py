"""Parsed copies of data sets: tensors kept whole in one file, named by the content they were parsed from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from fervis.atomic import whole_file
from fervis.engines.content import content_hash, forget
from fervis.errors import RunFailed


def parsed(
    sources: Sequence[Path], cache: Path, name: str, parse: Callable[[], dict[str, Tensor]]
) -> dict[str, Tensor]:
    """The tensors that ``parse`` makes of ``sources``, from the copy in ``cache`` where there is one.

    Args:
        sources: the files or folders that ``parse`` reads; their content names the copy.
        cache: folder of the copies.
        name: first part of the copy's name: the parser, its version and all that it depends on beside the content.
        parse: gives contiguous tensors by name. Where it raises, nothing is left in ``cache``.

    Raises:
        RunFailed: where the sources change while they are read.
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
            raise RunFailed(f"{', '.join(map(str, sources))}: changed while it was read; ask again.")
    except BaseException:
        for source in sources:
            forget(source, cache)
        raise
    with whole_file(copy) as partial:
        save_file(tensors, partial)
    return tensors
