"""Which faces excite a filter most: one pass over all faces that keeps no more than the best of each filter."""

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
        units: [n,F] int64, where on the layer's grid the highest output is, counted row by row.
        dead: [F] int64, at how many of the faces seen the filter's output is nowhere above zero.
    """

    values: Tensor
    faces: Tensor
    units: Tensor
    dead: Tensor


def first_occurrences(batch: Batch) -> Tensor:
    """[M] bool, which faces of the pool are no exact copy of one with a lower row."""
    seen: set[bytes] = set()
    first = torch.zeros(len(batch.pool), dtype=torch.bool)
    for place in batch.rows.cpu().argsort(stable=True).tolist():
        digest = hashlib.blake2b(batch.pool[place].contiguous().numpy().data, digest_size=16).digest()
        first[place] = digest not in seen
        seen.add(digest)
    return first


def rank_activations(
    batch: Batch,
    layers: Sequence[Layer],
    filters: Sequence[tuple[int, ...]],
    ranked: Tensor,
    top: int,
) -> list[RankedActivations]:
    """The ``top`` highest peaks of each filter over the pool, the highest first, for every layer from one pass.

    Faces that are not ``ranked`` ([M] bool, at least ``top`` of them true) count among the dead ones only.
    """
    best: list[RankedActivations | None] = [None] * len(layers)
    batches = batch.batches(RANKING_BATCH)
    batches = progress(batches, "top_faces", "batch", total=-(-len(batch.pool) // RANKING_BATCH), quiet=batch.quiet)
    for where, images in batches:
        outputs = outputs_at(batch.model, images, layers)
        for number, (layer, maps) in enumerate(zip(layers, outputs, strict=True)):
            values, units = (part.cpu() for part in maps[:, list(filters[number])].float().flatten(2).max(2))
            if not values.isfinite().all():
                row = int(batch.rows[where][~values.isfinite().all(1)][0])
                raise RunError(f"layer={layer.name}: its output for face {row} is not finite.")
            faces = torch.arange(where.start, where.stop)[:, None].expand_as(values)
            dead = (values <= 0).sum(0)
            values = values.masked_fill(~ranked[where, None], -torch.inf)
            best[number] = _merge_best(best[number], RankedActivations(values, faces, units, dead), batch.rows, top)
    return [peaks for peaks in best if peaks is not None]


def _merge_best(kept: RankedActivations | None, new: RankedActivations, rows: Tensor, top: int) -> RankedActivations:
    """The highest of the kept and the new peaks of each filter, of equal ones that of the lowest row."""
    names = ("values", "faces", "units")
    values, faces, units = (
        torch.cat([getattr(part, name) for part in (kept, new) if part is not None]) for name in names
    )
    by_row = rows.cpu()[faces].argsort(dim=0, stable=True)
    by_value = values.gather(0, by_row).argsort(dim=0, descending=True, stable=True)
    order = by_row.gather(0, by_value)[:top]
    dead = new.dead if kept is None else kept.dead + new.dead
    return RankedActivations(values.gather(0, order), faces.gather(0, order), units.gather(0, order), dead)
