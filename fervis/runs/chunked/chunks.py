"""Runs over many faces, explained chunk by chunk: in bounded memory, resumable, split over jobs, and joined.

Every chunk of faces is explained in the same way by every job and saved in its own file. A run that is split over
jobs (``shard=2/4``) and one that is not have the same chunks, so the joined results are equal to the byte.
"""

from __future__ import annotations

import csv
import json
import math
import re
import shutil
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from fervis.core.faces import Faces
from fervis.core.results import Explanation, Result, join_items, join_results, shared_fields
from fervis.errors import RunError
from fervis.runs.chunked.columns import Column, write_npy
from fervis.runs.chunked.serialization import (
    entry_count,
    is_intact,
    load_chunk,
    read_chunk_numbers,
    save_chunk,
    take_entries,
)
from fervis.runs.config import Shard
from fervis.system.console import log
from fervis.system.files import CHUNKS_FOLDER, CHUNKS_METADATA, atomic_path, read_json, write_text

# Faces per chunk: as many as per pass, so that a face is in the same batch in a large run as in a small one.
CHUNK_SIZE = 64
UNCHUNKED_LIMIT = 256  # runs over more faces than this are explained in chunks
DISPLAYED = 35  # faces of such a run that are drawn and listed
CHUNK_BYTES = 2**27  # upper limit of the size of a chunk's results
COUNTED_NUMBERS = ("entries", "explained")  # these are added up over chunks; all other numbers are averaged

ENTRY_ARRAY = re.compile(r"_\d+$")  # the end of the name of an array that belongs to a single entry

ExplainFaces = Callable[[Faces], tuple[Explanation, Tensor, list[dict[str, float]]]]
"""Explains faces: the explanation, the position of each entry's face, and the numbers of each checkpoint."""


@dataclass(frozen=True)
class Chunks:
    """The chunks of a run: their files, and the faces of each.

    Attributes:
        folder: folder of the chunks' files.
        faces: all faces of the run, in order.
        size: faces per chunk; the last may have fewer.
        groups: layers times checkpoints; the entries of a chunk are listed group by group.
        kind: class of the results.
        evidence: number of a chunk -> measure -> scores of its entries.
    """

    folder: Path
    faces: Faces
    size: int
    groups: int
    kind: type[Result]
    evidence: dict[int, dict[str, Tensor]] = field(default_factory=dict)

    def __len__(self) -> int:
        return -(-len(self.faces) // self.size)

    def path(self, number: int) -> Path:
        """Return the file of a chunk."""
        return self.folder / f"{number:06d}.safetensors"

    def positions(self, number: int) -> range:
        """Return the positions of a chunk's faces among those of the run."""
        return range(number * self.size, min((number + 1) * self.size, len(self.faces)))

    def missing(self) -> list[int]:
        """Return the numbers of the chunks that do not exist yet."""
        return [number for number in range(len(self)) if not is_intact(self.path(number))]

    def explain(self, explain: ExplainFaces, shard: Shard | None, *, quiet: bool, overwrite: bool) -> None:
        """Explain the missing chunks of a shard, or of the run; with ``overwrite`` the existing ones too."""
        share = self.share(shard)
        done = {number for number in share if not overwrite and is_intact(self.path(number))}
        total, explained = self._face_count(share), self._face_count(done)
        if explained:
            log.info("resuming: %d of %d faces are explained", explained, total)
        with tqdm(total=total, initial=explained, unit=" faces", disable=True if quiet else None) as bar:
            for number in share:
                if number not in done:
                    positions = self.positions(number)
                    try:
                        explanation, images, numbers = explain(self.faces.take(torch.tensor(positions)))
                    except KeyboardInterrupt as interrupt:
                        saved = self._face_count(other for other in share if self.path(other).is_file())
                        if saved and not overwrite:
                            interrupt.add_note(f"the maps of {saved} of {total} faces")
                        raise
                    save_chunk(self.path(number), explanation, [positions[image] for image in images.tolist()], numbers)
                    bar.update(len(positions))

    def _face_count(self, numbers: Iterable[int]) -> int:
        return sum(len(self.positions(number)) for number in numbers)

    def share(self, shard: Shard | None) -> range:
        """Return the numbers of the chunks of a shard, or of all."""
        return range(len(self)) if shard is None else range(shard.number - 1, len(self), shard.of)

    def copy_from(self, saved: Chunks, shard: Shard | None) -> None:
        """Copy a shard's missing chunks from saved ones of the same explanation, if these are of as many faces."""
        if saved.size == self.size:
            for number in {*self.missing()} & {*self.share(shard)}:
                with atomic_path(self.path(number)) as partial:
                    shutil.copyfile(saved.path(number), partial)

    def load(self, number: int) -> tuple[Explanation, list[int]]:
        """Load a chunk: its explanation, and the position in the run of each entry's face."""
        explanation, positions = load_chunk(self.path(number), self.faces, self.kind)
        return replace(explanation, evidence=self.evidence.get(number, {})), positions.tolist()

    def each(self) -> Iterator[tuple[Explanation, list[int]]]:
        """Yield each chunk's explanation with its entries' numbers in the run, whose entries are listed by group."""
        counts = [entry_count(self.path(number)) // self.groups for number in range(len(self))]
        total, before = sum(counts), 0
        for number, count in enumerate(counts):
            entries = [group * total + before + entry for group in range(self.groups) for entry in range(count)]
            yield self.load(number)[0], entries
            before += count

    def displayed(self) -> Explanation:
        """Return the explanation of the faces that are drawn and listed: all of a small run, or some spread evenly."""
        count = len(self.faces)
        chosen = (
            range(count)
            if count <= UNCHUNKED_LIMIT
            else torch.linspace(0, count - 1, DISPLAYED).round().long().tolist()
        )
        parts: list[Explanation] = []
        order: list[tuple[int, int, int]] = []
        for number in sorted({position // self.size for position in chosen}):
            explanation, positions = self.load(number)
            entries = [entry for entry, position in enumerate(positions) if position in chosen]
            parts.append(take_entries(explanation, entries))
            order += [(entry // (len(positions) // self.groups), number, entry) for entry in entries]
        return take_entries(join_explanations(parts), sorted(range(len(order)), key=order.__getitem__))

    def numbers(self) -> list[dict[str, float]]:
        """Return the numbers of each checkpoint over all faces."""
        tables = [read_chunk_numbers(self.path(number)) for number in range(len(self))]
        return [combine_numbers(of_checkpoint) for of_checkpoint in zip(*tables, strict=True)]

    def write_arrays(self, path: Path, arrays: Callable[[Explanation], Mapping[str, NDArray[Any]]]) -> None:
        """Write the arrays of all entries as ``.npz``, with no more than a chunk of them in memory.

        ``numpy.savez`` takes whole arrays; here each array is collected in a temporary file (``Column``), since
        explanations of a large data set exceed the memory.

        Args:
            path: path of the file.
            arrays: explanation -> its arrays: with one item per entry; ``classes`` and the fields that the kind of
                result shares among entries, which are written once; and arrays of entry n alone, ``<name>_<n>``.
        """
        shared = ["classes", *shared_fields(self.kind)]
        empty_parts: dict[str, list[NDArray[Any]]] = {}
        total = 0
        for explanation, entries in self.each():
            total += len(entries)
            for name, values in arrays(explanation).items():
                if not ENTRY_ARRAY.search(name):
                    empty_parts.setdefault(name, []).append(np.empty((0, *values.shape[1:]), values.dtype))
        # Texts have the length of the longest in their array, so the widest type holds those of all chunks.
        empty = {name: max(parts, key=lambda part: part.itemsize) for name, parts in empty_parts.items()}
        with ExitStack() as files, atomic_path(path) as partial:
            archive = files.enter_context(zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED))
            columns = {
                name: Column(files.enter_context(TemporaryFile(dir=path.parent)), total, like)
                for name, like in empty.items()
                if name not in shared
            }
            for explanation, entries in self.each():
                values = arrays(explanation)
                for name, column in columns.items():
                    column.put(entries, values[name])
                for name in filter(ENTRY_ARRAY.search, values):
                    stem, _, entry = name.rpartition("_")
                    write_npy(archive, f"{stem}_{entries[int(entry)]}", values[name])
            for name, column in columns.items():
                column.write(archive, name)
            first = arrays(self.load(0)[0])
            for name in shared:
                if name in first:
                    write_npy(archive, name, first[name])

    def write_table(self, path: Path, rows: Callable[[Explanation], Sequence[Mapping[str, Any]]]) -> None:
        """Write one line per entry as CSV, with the entry's number in the arrays."""
        with atomic_path(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
            writer = None
            for explanation, entries in self.each():
                table = [{"entry": entry} | dict(row) for entry, row in zip(entries, rows(explanation), strict=True)]
                if writer is None:
                    writer = csv.DictWriter(file, list(table[0]))
                    writer.writeheader()
                writer.writerows(table)


def join_explanations(parts: Sequence[Explanation]) -> Explanation:
    """Join the explanations of several chunks, entry after entry."""
    names = {
        name: tuple(value for part in parts for value in getattr(part, name))
        for name in ("layers", "targets", "checkpoints")
    }
    return replace(
        parts[0],
        result=join_results([part.result for part in parts]),
        faces=parts[0].faces.joined([part.faces for part in parts[1:]]),
        predictions=torch.cat([part.predictions for part in parts]),
        probabilities=torch.cat([part.probabilities for part in parts]),
        evidence=join_items([part.evidence for part in parts]),
        **names,
    )


def combine_numbers(tables: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Combine the numbers of all chunks: sums of ``entries`` and ``explained``, means over entries of all others."""
    combined: dict[str, float] = {}
    for name in dict.fromkeys(name for table in tables for name in table):
        known = [table for table in tables if not math.isnan(table.get(name, math.nan))]
        if name in COUNTED_NUMBERS:
            combined[name] = sum(int(table[name]) for table in known)
            continue
        weights = [table["explained" if "explained" in table else "entries"] for table in known]
        products = (table[name] * weight for table, weight in zip(known, weights, strict=True))
        combined[name] = math.fsum(products) / math.fsum(weights) if known else math.nan
    return combined


def open_chunks(
    folder: Path,
    faces: Faces,
    groups: int,
    kind: type[Result],
    probe: Callable[[], int],
    *,
    key: Mapping[str, Any],
    run_metadata: Mapping[str, Any],
) -> Chunks:
    """Open the chunks in a run folder; those of other faces, weights or versions are removed.

    Args:
        folder: the run folder.
        faces: all faces of the run.
        groups: layers times checkpoints.
        kind: class of the results.
        probe: returns the bytes of the results of one face, to choose the number of faces per chunk; called once.
        key: all that chunks depend on: the run's key, hashes of data and weights, versions.
        run_metadata: the command and the config of the run, for ``merge``.
    """
    chunks_folder = folder / CHUNKS_FOLDER
    metadata = _metadata_in(folder)
    if metadata.get("key") != dict(key):
        if metadata:
            log.info("the data, the weights or a version changed: all faces are explained again")
        shutil.rmtree(chunks_folder, ignore_errors=True)
        size = CHUNK_SIZE
        while size > 1 and size * probe() > CHUNK_BYTES:
            size //= 2
        metadata = {"key": dict(key), "size": size, "blocks": -(-len(faces) // size), "run": dict(run_metadata)}
        write_text(folder / CHUNKS_METADATA, json.dumps(metadata, indent=1) + "\n")
    return Chunks(chunks_folder, faces, metadata["size"], groups, kind)


def reopen_chunks(folder: Path, faces: Faces, groups: int, kind: type[Result]) -> Chunks | None:
    """Return the chunks in a folder as they were opened there before; None if there are none."""
    metadata = _metadata_in(folder)
    return Chunks(folder / CHUNKS_FOLDER, faces, metadata["size"], groups, kind) if "size" in metadata else None


def _metadata_in(folder: Path) -> dict[str, Any]:
    """Read what a folder's chunks are of; empty if there are none or it cannot be read, and they start afresh."""
    with suppress(RunError):
        return read_json(folder / CHUNKS_METADATA)
    return {}
