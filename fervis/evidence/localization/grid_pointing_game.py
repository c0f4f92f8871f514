"""Grid pointing game: the share of a grid's map in the cell of its class (Böhle et al. 2021, arXiv:2104.00032)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fervis.evidence.localization.grids import GridMeasure, first_cell_share, grid_network, grids_of
from fervis.evidence.protocol import ExplainAgain
from fervis.models.batch import Batch


@dataclass
class GridPointingGame(GridMeasure):
    """Explain the class of an image that stands in a grid among three images of other classes, and measure its share.

    The network reads the whole grid of 2 x 2 and averages over it. The map's positive part should lie in the cell of
    the class; a map that does not know the cells has a quarter there. A network is not bound to look there alone: the
    score is of the method and the network together, and ``disconnected_grid`` is of the method.
    """

    def measure(self, batch: Batch, maps: Tensor, again: ExplainAgain) -> dict[str, Tensor]:
        """Return the share [N,T] in [0, 1]; 0 for a map that marks nothing.

        Raises:
            ConfigError: a network for images of one size, or that is sure of too few classes.
        """
        network = grid_network(batch.model, "grid_pointing_game")
        grids, sure = grids_of(batch, self.confidence, "grid_pointing_game")
        return {"": first_cell_share(again, grids, network).cpu().where(sure, torch.nan)}
