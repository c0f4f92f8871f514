"""A question of many faces, answered block by block: in bounded memory, resumed, split over jobs, and joined.

Every block of faces is explained alike, whoever does it, and kept in a file of its own. A question that is split over
jobs (``shard=2/4``) and one that is not find the same blocks, so what is joined of them is the same to the byte.
"""

from __future__ import annotations

import csv
import json
import math
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
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

# Faces per chunk: as many as a pass, so that a face meets the same ones in a large run and in a small one.
CHUNK_SIZE = 64
UNCHUNKED_LIMIT = 256  # a question of more faces than this is answered by blocks
DISPLAYED = 35  # faces of such a question that are drawn and listed
CHUNK_BYTES = 2**27  # that a block's results may take
COUNTED_NUMBERS = ("entries", "explained")  # numbers that add up; the others are means

RUN_NUMBERS = re.compile(r"_\d+$")  # the name of an array that belongs to one entry

# Explains some faces: the explanation, the position of each entry's face, and the numbers of each checkpoint.
ExplainFaces = Callable[[Faces], tuple[Explanation, Tensor, list[dict[str, float]]]]


@dataclass(frozen=True)
class Chunks:
    """The blocks of a question: where they are, and which faces each has.

    Attributes:
        folder: of the blocks' files.
        faces: all faces of the question, in its order.
        size: faces a block, but for the last.
        groups: layers times checkpoints; the entries of a block stand group by group.
        kind: class of the results.
        evidence: number of a block -> measure -> scores of its entries.
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

    def places(self, number: int) -> range:
        """Positions of a block's faces in the question."""
        return range(number * self.size, min((number + 1) * self.size, len(self.faces)))

    def missing(self) -> list[int]:
        """Numbers of the blocks that are not there yet."""
        return [number for number in range(len(self)) if not is_intact(self.path(number))]

    def explain(self, explain: ExplainFaces, shard: Shard | None, *, quiet: bool, overwrite: bool) -> None:
        """Explain the missing blocks of a shard, or of the run; with ``overwrite`` also those that are there."""
        mine = self.share(shard)
        done = {number for number in mine if not overwrite and is_intact(self.path(number))}
        total, there = (sum(len(self.places(number)) for number in some) for some in (mine, done))
        if there:
            log.info("going on: %d of %d faces are explained", there, total)
        with tqdm(total=total, initial=there, unit=" faces", disable=True if quiet else None) as bar:
            for number in mine:
                if number not in done:
                    places = self.places(number)
                    try:
                        explanation, who, numbers = explain(self.faces.take(torch.tensor(places)))
                    except KeyboardInterrupt as stopped:
                        whole = sum(len(self.places(one)) for one in mine if self.path(one).is_file())
                        if whole and not overwrite:
                            stopped.add_note(f"the maps of {whole} of {total} faces")
                        raise
                    save_chunk(self.path(number), explanation, [places[one] for one in who.tolist()], numbers)
                    bar.update(len(places))

    def share(self, shard: Shard | None) -> range:
        """Numbers of the chunks of a shard, or of all."""
        return range(len(self)) if shard is None else range(shard.number - 1, len(self), shard.of)

    def copy_from(self, saved: Chunks, shard: Shard | None) -> None:
        """Copy a shard's missing chunks from saved ones of the same explanation, if these are of as many faces."""
        if saved.size == self.size:
            for number in {*self.missing()} & {*self.share(shard)}:
                with atomic_path(self.path(number)) as partial:
                    shutil.copyfile(saved.path(number), partial)

    def load(self, number: int) -> tuple[Explanation, list[int]]:
        """Load a chunk: its explanation, and the position in the run of each entry's face."""
        explanation, places = load_chunk(self.path(number), self.faces, self.kind)
        return replace(explanation, evidence=self.evidence.get(number, {})), places.tolist()

    def each(self) -> Iterator[tuple[Explanation, list[int]]]:
        """Every block's explanation with the numbers of its entries in the answer, where they stand group by group."""
        counts = [entry_count(self.path(number)) // self.groups for number in range(len(self))]
        total, before = sum(counts), 0
        for number, count in enumerate(counts):
            entries = [group * total + before + one for group in range(self.groups) for one in range(count)]
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
        for number in sorted({place // self.size for place in chosen}):
            explanation, places = self.load(number)
            entries = [entry for entry, place in enumerate(places) if place in chosen]
            parts.append(take_entries(explanation, entries))
            order += [(entry // (len(places) // self.groups), number, entry) for entry in entries]
        return take_entries(join_explanations(parts), sorted(range(len(order)), key=order.__getitem__))

    def numbers(self) -> list[dict[str, float]]:
        """Return the numbers of each checkpoint over all faces."""
        tables = [read_chunk_numbers(self.path(number)) for number in range(len(self))]
        return [combine_numbers([table[place] for table in tables]) for place in range(len(tables[0]))]

    def write_arrays(self, path: Path, arrays: Callable[[Explanation], Mapping[str, NDArray[Any]]]) -> None:
        """Write the arrays of all entries as ``.npz``, holding no more than a block of them.

        Args:
            path: of the file.
            arrays: what is kept of an explanation: arrays of an item an entry; ``classes`` and what the kind of result
                shares among its entries, which are those of the whole; and arrays of entry n alone, named
                ``<name>_<n>``.
        """
        shared = ["classes", *shared_fields(self.kind)]
        kinds: dict[str, list[NDArray[Any]]] = {}
        total = 0
        for explanation, entries in self.each():
            total += len(entries)
            for name, values in arrays(explanation).items():
                if not RUN_NUMBERS.search(name):
                    kinds.setdefault(name, []).append(np.empty((0, *values.shape[1:]), values.dtype))
        empty = {name: max(parts, key=lambda part: part.itemsize) for name, parts in kinds.items()}
        with ExitStack() as files, atomic_path(path) as partial:
            archive = files.enter_context(zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED))
            columns = {
                name: Column(files.enter_context(TemporaryFile(dir=path.parent)), total, one)
                for name, one in empty.items()
                if name not in shared
            }
            for explanation, entries in self.each():
                found = arrays(explanation)
                for name, column in columns.items():
                    column.put(entries, found[name])
                for name in filter(RUN_NUMBERS.search, found):
                    stem, _, entry = name.rpartition("_")
                    write_npy(archive, f"{stem}_{entries[int(entry)]}", found[name])
            for name, column in columns.items():
                column.write(archive, name)
            whole = arrays(self.load(0)[0])
            for name in shared:
                if name in whole:
                    write_npy(archive, name, whole[name])

    def write_table(self, path: Path, rows: Callable[[Explanation], Sequence[Mapping[str, Any]]]) -> None:
        """Write a line an entry as CSV, with its number in the arrays."""
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
    words = {
        name: tuple(word for part in parts for word in getattr(part, name))
        for name in ("layers", "targets", "checkpoints")
    }
    return replace(
        parts[0],
        result=join_results([part.result for part in parts]),
        faces=parts[0].faces.joined([part.faces for part in parts[1:]]),
        predictions=torch.cat([part.predictions for part in parts]),
        probabilities=torch.cat([part.probabilities for part in parts]),
        evidence=join_items([part.evidence for part in parts]),
        **words,
    )


def combine_numbers(tables: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Numbers of all blocks: ``entries`` and ``explained`` added up, all others means, weighted by entries."""
    found: dict[str, float] = {}
    for name in dict.fromkeys(name for table in tables for name in table):
        there = [table for table in tables if table.get(name, math.nan) == table.get(name)]
        weights = [table["explained" if "explained" in table else "entries"] for table in there]
        if name in COUNTED_NUMBERS:
            found[name] = sum(int(table[name]) for table in there)
        else:
            told = zip(there, weights, strict=True)
            found[name] = (
                math.fsum(table[name] * weight for table, weight in told) / math.fsum(weights) if there else math.nan
            )
    return found


def open_chunks(
    folder: Path,
    faces: Faces,
    groups: int,
    kind: type[Result],
    probe: Callable[[], int],
    *,
    key: Mapping[str, Any],
    asked: Mapping[str, Any],
) -> Chunks:
    """Open the chunks in a run folder; those of other faces, weights or versions are removed.

    Args:
        folder: the run folder.
        faces: all faces of the question.
        groups: layers times checkpoints.
        kind: class of the results.
        probe: how many bytes the results of one face take; asked once, to choose the faces a block.
        key: what makes a block another: the question's hash, those of data and weights, versions.
        asked: how the question was asked, for who joins the blocks.
    """
    place, about = folder / CHUNKS_FOLDER, folder / CHUNKS_METADATA
    told = _metadata_in(folder)
    if told.get("key") != dict(key):
        if told:
            log.info("the data, the weights or a version changed: the faces explained before are explained anew")
        shutil.rmtree(place, ignore_errors=True)
        size = CHUNK_SIZE
        while size > 1 and size * probe() > CHUNK_BYTES:
            size //= 2
        told = {"key": dict(key), "size": size, "blocks": -(-len(faces) // size), "asked": dict(asked)}
        write_text(about, json.dumps(told, indent=1) + "\n")
    return Chunks(place, faces, told["size"], groups, kind)


def reopen_chunks(folder: Path, faces: Faces, groups: int, kind: type[Result]) -> Chunks | None:
    """Return the chunks in a folder as they were opened there before; None if there are none."""
    metadata = _metadata_in(folder)
    return Chunks(folder / CHUNKS_FOLDER, faces, metadata["size"], groups, kind) if "size" in metadata else None


def _metadata_in(folder: Path) -> dict[str, Any]:
    """Read what a folder's chunks are of; empty if there are none or it cannot be read, and they start afresh."""
    with suppress(RunError):
        return read_json(folder / CHUNKS_METADATA)
    return {}
