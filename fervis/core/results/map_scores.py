"""Scores of maps by name: what ``fervis.score`` returns."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fervis.core.intervals import format_number
from fervis.core.results.tables import data_frame


class MapScores(dict[str, Tensor]):
    """Name of a score -> [N] numbers of images, or [N,T] of images and targets; a dictionary that prints in few lines.

    Example:
        >>> MapScores(deletion=torch.tensor([0.25, 0.75]))
        Scores of 2 images
          deletion: mean 0.5, 0.25 to 0.75
    """

    def __repr__(self) -> str:
        shape = next((values.shape for values in self.values()), torch.Size([0]))
        targets = f" and {shape[1]} targets" if len(shape) > 1 else ""
        lines = [f"  {name}: {_mean_and_range(values)}" for name, values in self.items()]
        return "\n".join([f"Scores of {shape[0]} image{'s' * (shape[0] != 1)}{targets}", *lines])

    def to_dataframe(self) -> Any:
        """Return a pandas table with a row per image, or per image and target, and a column per score.

        Raises:
            ConfigError: pandas is not installed.
        """
        columns: dict[str, Any] = {}
        for values in list(self.values())[:1]:
            positions = torch.cartesian_prod(*map(torch.arange, values.shape)).reshape(-1, values.ndim)
            columns = {name: positions[:, axis].numpy() for axis, name in enumerate(("image", "target")[: values.ndim])}
        return data_frame(columns | {name: values.flatten().numpy() for name, values in self.items()})


def _mean_and_range(values: Tensor) -> str:
    """Return the mean and the range of the scores that are numbers."""
    known = values[values.isfinite()]
    if not len(known):
        return "none"
    missing = f" ({values.numel() - len(known)} without one)" if len(known) < values.numel() else ""
    ends = " to ".join(format_number(float(end)) for end in (known.min(), known.max()))
    return f"mean {format_number(float(known.mean()))}, {ends}{missing}"
