"""A group of faces whose regions are hidden: its measurements, and its entries of the result."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fervis.core.results import RegionContrasts
from fervis.datasets.landmarks.regions import FACE_REGIONS, FaceRegions
from fervis.explainers.diagnostics.cells import Cell
from fervis.explainers.diagnostics.examples import byte_pictures, filled
from fervis.explainers.diagnostics.region_effects import RegionEffects, strongest_faces


@dataclass(frozen=True)
class MeasuredGroup:
    """The faces of a cell, n of them, and what hiding their regions does.

    Attributes:
        cell: all faces of the cell.
        pair: numbers of the target and of the class that it is contrasted with.
        classes: names of the network's classes.
        images: [n,C,H,W] of the measured faces, as the pool holds them.
        rows: [n] int64, their rows.
        regions: their regions.
        effects: on each face.
        values: name -> [R], means over the faces.
        clear: ``beyond`` and ``flips/beyond`` -> [R] bool, which of them clearly differ from 0.
    """

    cell: Cell
    pair: tuple[int, int]
    classes: tuple[str, ...]
    images: Tensor
    rows: Tensor
    regions: FaceRegions
    effects: RegionEffects
    values: dict[str, Tensor]
    clear: dict[str, Tensor]

    @property
    def name(self) -> str:
        """Return the cell in words."""
        return self.cell.name(self.classes)

    @property
    def turned(self) -> int:
        """Return the class of the pair that the faces are not predicted as."""
        return other_of_pair(self.pair, self.cell.predicted)

    @property
    def shown(self) -> list[int]:
        """Return the positions in ``FACE_REGIONS`` of the regions that the faces' source knows."""
        return [FACE_REGIONS.index(name) for name in self.regions.names]

    def examples(self, region: int, count: int) -> Tensor:
        """Return the positions among the n faces of those on which a region has most effect."""
        return strongest_faces(self.effects.effects[:, region], count)

    def entries(self, maps: Tensor, examples: int, sentence: str) -> RegionContrasts:
        """Return one entry per region.

        Args:
            maps: [n,H,W] contrast maps.
            examples: most faces shown per region.
            sentence: what the group shows in words.
        """
        found, shown = self.effects, self.shown
        count = len(shown)
        chosen = [self.examples(region, examples) for region in shown]
        flips = found.predicted == self.turned
        flipped = [flips[:, region] & found.effects[:, region].isfinite() for region in shown]
        names = self.classes[self.pair[0]], self.classes[self.pair[1]]

        def stacked(values: Tensor, fill: float = 0) -> Tensor:
            return torch.stack([filled(values[index], examples, fill) for index in chosen])

        masks = [filled(self.regions.masks[index, at], examples, 0) for index, at in zip(chosen, shown, strict=True)]
        return RegionContrasts(
            groups=(self.name,) * count,
            regions=tuple(self.regions.names),
            pairs=(names,) * count,
            values={name: column[shown] for name, column in self.values.items()},
            clear=self.clear["beyond"][shown],
            clear_flips=self.clear["flips/beyond"][shown],
            rows=(self.rows,) * count,
            margins=(found.margins,) * count,
            effects=tuple(found.effects[:, region] for region in shown),
            predicted=tuple(found.predicted[:, region] for region in shown),
            flipped=tuple(self.rows[mask] for mask in flipped),
            example_rows=stacked(self.rows, -1),
            images=stacked(byte_pictures(self.images)),
            masks=torch.stack(masks),
            maps=stacked(maps),
            sentences=(sentence, *[""] * (count - 1)),
        )


def other_of_pair(pair: tuple[int, int], number: int) -> int:
    """Return the class of a pair that is not this one."""
    return pair[0] if number == pair[1] else pair[1]
