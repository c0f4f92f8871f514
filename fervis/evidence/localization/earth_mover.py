"""How far a map's mass must be moved to lie on the pixels that matter (Clark et al. 2023, arXiv:2306.12816)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linprog
from scipy.sparse import csr_array
from scipy.spatial.distance import cdist
from torch import Tensor
from torch.nn import functional as F

from fervis.core.knobs import Whole
from fervis.errors import RunError
from fervis.evidence.localization.known_pixels import known_pixels
from fervis.evidence.protocol import ExplainAgain
from fervis.models.batch import Batch

Masses = NDArray[np.float64]


@dataclass
class EarthMover:
    """Measure 1 - EMD / D: the least mean distance by which the magnitudes move onto the pixels that matter, over D.

    The mass of the map and that of the truth are 1 each, distances are Euclidean, and D is the root of twice the number
    of pixels, as in the code of XAI-TRIS (11.31 for 8 x 8 pixels; the longest way in such an image is 9.90).

    Attributes:
        cells: most cells per side; magnitudes of larger maps are added up in as many cells, the distances between
            whose middles count, since the exact solution needs (pixels) x (pixels that matter) unknowns.
    """

    cells: Annotated[int, Whole(2, 32)] = 16

    better: ClassVar = "higher"
    needs: ClassVar = frozenset({"truth"})

    def measure(self, batch: Batch, maps: Tensor, again: ExplainAgain) -> dict[str, Tensor]:
        """Return the score [N,T]; NaN for images without a pixel that matters, and for maps of zeros."""
        known = known_pixels(batch, maps, "earth_mover")
        height, width = maps.shape[2:]
        rows, columns = min(height, self.cells), min(width, self.cells)
        given = _cell_sums(maps.double().abs().cpu(), rows, columns)
        truth = _cell_sums(known.unflatten(2, (height, width)).double().cpu(), rows, columns)[:, 0]
        centres = np.stack(np.meshgrid(_centres(height, rows), _centres(width, columns), indexing="ij"), 2).reshape(
            -1, 2
        )
        costs = np.asarray(cdist(centres, centres), np.float64)
        scores = torch.full(maps.shape[:2], torch.nan, dtype=torch.float64)
        for image, target in np.ndindex(*scores.shape):
            mass, goal = given[image, target].flatten().numpy(), truth[image].flatten().numpy()
            if mass.sum() > 0 and np.isfinite(mass.sum()) and goal.sum() > 0:
                distance = earth_movers_distance(mass / mass.sum(), goal / goal.sum(), costs)
                scores[image, target] = 1 - distance / np.sqrt(2 * height * width)
        return {"": scores}


def earth_movers_distance(mass: Masses, goal: Masses, costs: Masses) -> float:
    """Return the least cost of moving ``mass`` [A] to ``goal`` [B], of equal sums, by costs [A,B].

    Example:
        >>> costs = np.array([[0.0, 1.0], [1.0, 0.0]])
        >>> earth_movers_distance(np.array([0.25, 0.75]), np.array([1.0, 0.0]), costs)
        0.75
    """
    sources, sinks = np.flatnonzero(mass), np.flatnonzero(goal)
    count, ends = len(sources), len(sinks)
    flows = np.arange(count * ends)
    equations = csr_array(
        (np.ones(2 * len(flows)), (np.concatenate([flows // ends, count + flows % ends]), np.tile(flows, 2)))
    )
    # The last equation follows from the others; with it, rounding of the sums could make the problem infeasible.
    amounts = np.concatenate([mass[sources], goal[sinks]])[:-1]
    solved = linprog(costs[np.ix_(sources, sinks)].ravel(), A_eq=equations[:-1], b_eq=amounts, method="highs")
    if solved.status != 0:
        raise RunError(f"evidence=earth_mover: the transport has no solution ({solved.message})")
    return float(solved.fun)


def _cell_sums(values: Tensor, rows: int, columns: int) -> Tensor:
    """Add up values [N,T,H,W] in cells; pixels that two cells share go to both by parts."""
    return torch.einsum("rh,nthw,cw->ntrc", _shares(values.shape[2], rows), values, _shares(values.shape[3], columns))


def _shares(length: int, cells: int) -> Tensor:
    """Return [cells,length]: the part of each pixel that lies in each cell."""
    edges = torch.linspace(0, length, cells + 1, dtype=torch.float64)
    starts = torch.arange(length, dtype=torch.float64)
    return F.relu(torch.minimum(edges[1:, None], starts + 1) - torch.maximum(edges[:-1, None], starts))


def _centres(length: int, cells: int) -> Masses:
    return (np.arange(cells) + 0.5) * length / cells
