"""The pixels that are known to matter, and the part of a map that marks pixels."""

from __future__ import annotations

from torch import Tensor

from fervis.core.knobs import Choice
from fervis.errors import RunError
from fervis.models.batch import Batch

MAP_PARTS = Choice("positive", "absolute")
"""What of a map marks pixels: its positive part (values that speak for the target), or magnitudes."""


def known_pixels(batch: Batch, maps: Tensor, measure: str) -> Tensor:
    """Return which pixels matter [N,1,P] bool, on the device of the maps.

    Raises:
        RunError: the data set does not know.
    """
    if batch.truth is None or batch.truth.evidence is None:
        raise RunError(f"evidence={measure}: the data set does not know which pixels matter.")
    return batch.truth.evidence.to(maps.device).flatten(1)[:, None]


def marking_values(maps: Tensor, part: str) -> Tensor:
    """Return the values [N,T,P] float64 by which maps [N,T,H,W] mark pixels; none is negative."""
    flat = maps.flatten(2).double()
    return flat.abs() if part == "absolute" else flat.clamp(min=0)


def where_known(scores: Tensor, known: Tensor) -> Tensor:
    """Return scores [N,T], NaN for images of which no pixel is known to matter."""
    return scores.where(known.any(2), float("nan"))
