"""Rank faces by how much they excite a filter: one pass over all faces that keeps only the best of each filter."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fervis.core.layers import Layer
from fervis.errors import RunError
from fervis.models.batch import Batch
from fervis.models.hooks import outputs_at
from fervis.system.progress import progress

RANKING_BATCH = 64


@dataclass(frozen=True)
class RankedActivations:
    """The highest output of each of F filters at each of n faces.

    Attributes:
        values: [n,F] float32.
        faces: [n,F] int64, positions in the pool.
        units: [n,F] int64, position of the highest output on the layer's grid, counted row by row.
        dead: [F] int64, number of faces at which the filter's output is nowhere above zero.
    """

    values: Tensor
    faces: Tensor
    units: Tensor
    dead: Tensor


def first_occurrences(batch: Batch) -> Tensor:
    """Return [M] bool, which faces of the pool are no exact copy of a face with a lower row."""
    seen: set[bytes] = set()
    first = torch.zeros(len(batch.pool), dtype=torch.bool)
    for position in batch.rows.cpu().argsort(stable=True).tolist():
        digest = hashlib.blake2b(batch.pool[position].contiguous().numpy().data, digest_size=16).digest()
        first[position] = digest not in seen
        seen.add(digest)
    return first


def rank_activations(
    batch: Batch,
    layers: Sequence[Layer],
    filters: Sequence[tuple[int, ...]],
    ranked: Tensor,
    top: int,
) -> list[RankedActivations]:
    """Return the ``top`` highest outputs of each filter over the pool, in descending order, for all layers in one pass.

    Faces that are not ``ranked`` ([M] bool, at least ``top`` of them true) only count for ``dead``.
    """
    best: list[RankedActivations | None] = [None] * len(layers)
    batches = batch.batches(RANKING_BATCH)
    batches = progress(batches, "top_faces", "batch", total=-(-len(batch.pool) // RANKING_BATCH), quiet=batch.quiet)
    for positions, images in batches:
        outputs = outputs_at(batch.model, images, layers)
        for number, (layer, maps) in enumerate(zip(layers, outputs, strict=True)):
            values, units = (part.cpu() for part in maps[:, list(filters[number])].float().flatten(2).max(2))
            if not values.isfinite().all():
                row = int(batch.rows[positions][~values.isfinite().all(1)][0])
                raise RunError(f"layer={layer.name}: its output for face {row} is not finite.")
            faces = torch.arange(positions.start, positions.stop)[:, None].expand_as(values)
            dead = (values <= 0).sum(0)
            values = values.masked_fill(~ranked[positions, None], -torch.inf)
            best[number] = _merge_best(best[number], RankedActivations(values, faces, units, dead), batch.rows, top)
    return [peaks for peaks in best if peaks is not None]


def _merge_best(best: RankedActivations | None, new: RankedActivations, rows: Tensor, top: int) -> RankedActivations:
    """Return the highest outputs of the best so far and the new ones; of equal ones those of the lowest rows."""
    names = ("values", "faces", "units")
    values, faces, units = (
        torch.cat([getattr(part, name) for part in (best, new) if part is not None]) for name in names
    )
    by_row = rows.cpu()[faces].argsort(dim=0, stable=True)
    by_value = values.gather(0, by_row).argsort(dim=0, descending=True, stable=True)
    order = by_row.gather(0, by_value)[:top]
    dead = new.dead if best is None else best.dead + new.dead
    return RankedActivations(values.gather(0, order), faces.gather(0, order), units.gather(0, order), dead)
