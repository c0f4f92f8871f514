"""The pixels that are known to matter, and the part of a map that marks pixels."""

from __future__ import annotations

from torch import Tensor

from fervis.core.knobs import Choice
from fervis.errors import RunError
from fervis.models.batch import Batch

MAP_PARTS = Choice("positive", "absolute")
"""The values that mark pixels: the positive part of a map (evidence for the target), or its magnitudes."""


def known_pixels(batch: Batch, maps: Tensor, measure: str) -> Tensor:
    """Return which pixels matter [N,1,P] bool, on the device of the maps.

    Raises:
        RunError: the data set has no ground truth.
    """
    if batch.truth is None:
        raise RunError(f"evidence={measure}: the data set does not know which pixels matter.")
    return batch.truth.evidence.to(maps.device).flatten(1)[:, None]


def marking_values(maps: Tensor, part: str) -> Tensor:
    """Return the values [N,T,P] float64 by which maps [N,T,H,W] mark pixels; none is negative."""
    flat = maps.flatten(2).double()
    return flat.abs() if part == "absolute" else flat.clamp(min=0)


def shares_of_highest(values: Tensor, known: Tensor) -> Tensor:
    """Return by how much each pixel [N,T,P] float64 is among the K highest of its map, where K pixels matter.

    1 above the K-th highest value, 0 below; pixels equal to it share the places that remain, which is the mean over all
    orders of them.

    Args:
        values: [N,T,P].
        known: [N,1,P] bool.
    """
    count = known.sum(2, keepdim=True)
    position = (count - 1).clamp(min=0).expand(-1, values.shape[1], -1)
    last = values.sort(2, descending=True).values.gather(2, position)
    higher, equal = values > last, values == last
    return higher + equal * ((count - higher.sum(2, keepdim=True)).double() / equal.sum(2, keepdim=True))


def where_known(scores: Tensor, known: Tensor) -> Tensor:
    """Return scores [N,T], NaN for images of which no pixel is known to matter."""
    return scores.where(known.any(2), float("nan"))
