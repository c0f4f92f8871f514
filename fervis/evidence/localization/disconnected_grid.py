"""Disconnected grid: the share of a map in the only cell that the output reads (DiFull, Rao et al. 2022)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fervis.evidence.localization.grids import GridMeasure, disconnected_network, first_cell_share, grids_of
from fervis.evidence.protocol import ExplainAgain
from fervis.models.batch import Batch


@dataclass
class DisconnectedGrid(GridMeasure):
    """Explain a grid by the network in which cells do not reach each other and the output reads one of them.

    Whatever a map marks in the other three cells is wrong by construction (arXiv:2205.10435). Layers have their maps of
    the whole grid, as the network had that reads all of it. The grids are those of ``grid_pointing_game``.
    """

    def measure(self, batch: Batch, maps: Tensor, again: ExplainAgain) -> dict[str, Tensor]:
        """Return the share [N,T] in [0, 1]; 0 for a map that marks nothing.

        Raises:
            ConfigError: a network whose cells cannot be kept apart, or that is sure of too few classes.
        """
        grids, sure = grids_of(batch, self.confidence, "disconnected_grid")
        network = disconnected_network(batch.model, grids, "disconnected_grid")
        return {"": first_cell_share(again, grids, network).cpu().where(sure, torch.nan)}
