"""RISE against the official way of drawing masks, and against all masks of a small grid, one by one."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from skimage.transform import resize
from torch import nn

import fervis
from fervis.core.seeding import generator_for
from fervis.explainers.perturbation.rise import enlargement, rise_masks

SIDE = 8


class Small(nn.Module):
    """Three classes of a small random network."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 12), nn.Tanh(), nn.Linear(12, 3))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return 4 * self.body(images - 0.5)


@pytest.fixture
def small() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return Small().eval()


def faces(count: int = 1) -> torch.Tensor:
    return torch.rand(count, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def official_mask(cells: np.ndarray, height: int, width: int, x: int, y: int) -> np.ndarray:
    """The lines of ``generate_masks`` of the official code for one grid and offset."""
    cell_size = np.ceil(np.array([height, width]) / len(cells))
    up_size = (len(cells) + 1) * cell_size
    enlarged = resize(cells, up_size, order=1, mode="reflect", anti_aliasing=False)
    return np.asarray(enlarged)[x : x + height, y : y + width]


@pytest.mark.parametrize(("grid", "height", "width"), [(7, 48, 48), (2, 8, 8), (3, 10, 7), (4, 9, 16)])
def test_masks_are_enlarged_as_in_the_official_code(grid: int, height: int, width: int):
    cells = (np.random.RandomState(0).rand(grid, grid) < 0.5).astype("float32")
    sides = [(grid + 1) * -(-length // grid) for length in (height, width)]
    ours = enlargement(grid, sides[0]) @ torch.from_numpy(cells) @ enlargement(grid, sides[1]).T
    for x, y in ((0, 0), (1, 0), (sides[0] // (grid + 1) - 1, sides[1] // (grid + 1) - 1)):
        expected = official_mask(cells, height, width, x, y)
        np.testing.assert_allclose(ours[x : x + height, y : y + width], expected, rtol=0, atol=1e-6)


def test_drawn_masks_are_cut_at_every_offset_with_the_wanted_share_of_cells():
    masks = rise_masks(4000, 8, 6, 2, 0.5, torch.Generator().manual_seed(0))
    assert masks.shape == (4000, 8, 6)
    some = rise_masks(4000, 8, 6, 2, 0.3, torch.Generator().manual_seed(0))
    assert abs(float(some.mean()) - 0.3) < 0.02
    grids = [np.array(cells, "float32").reshape(2, 2) for cells in itertools.product((0, 1), repeat=4)]
    possible = np.stack([official_mask(g, 8, 6, x, y) for g in grids for x in range(4) for y in range(3)])
    distances = np.abs(masks.numpy()[:, None] - possible[None]).max((2, 3))
    assert float(distances.min(1).max()) < 1e-6
    assert float(distances.min(0).max()) < 1e-6, "each of the 16 grids at each of the 12 offsets was drawn"


def exact_map(model: nn.Module, image: torch.Tensor, grid: int, shown: float, fill: float) -> torch.Tensor:
    """The map [3,H,W] to which RISE converges: every grid and every offset with its probability."""
    total = torch.zeros(3, SIDE, SIDE, dtype=torch.float64)
    cell = SIDE // grid
    for cells in itertools.product((0, 1), repeat=grid * grid):
        chance = shown ** sum(cells) * (1 - shown) ** (grid * grid - sum(cells)) / cell**2
        for x, y in itertools.product(range(cell), repeat=2):
            mask = torch.from_numpy(official_mask(np.array(cells, "float64").reshape(grid, grid), SIDE, SIDE, x, y))
            with torch.no_grad():
                scores = model((mask * image[0] + (1 - mask) * fill)[None, None].float()).softmax(1)[0]
            total += chance / shown * scores.double()[:, None, None] * mask
    return total


def test_it_is_unbiased_and_its_error_bars_are_the_spread_over_seeds(small: nn.Module):
    image, knobs = faces(), {"samples": 400, "grid": 2, "shown": 0.4, "fill": 0.2}
    exact = exact_map(small, image[0], 2, 0.4, 0.2)
    runs = [fervis.explain(small, image, "rise", target="all", seed=seed, **knobs) for seed in range(30)]
    maps, errors = (torch.stack([getattr(run, name) for run in runs]).double() for name in ("maps", "errors"))
    # The mean of thirty runs lies within four of its own standard errors of the exact map, at every pixel.
    assert ((maps.mean(0) - exact).abs() < 4 * errors.square().mean(0).sqrt() / 30**0.5).all()
    # The spread of thirty has itself a relative error of 1/sqrt(58), 13 %; the masks of a 2x2 grid are few.
    ratios = errors.square().mean(0).sqrt() / maps.std(0)
    assert 0.8 < float(ratios.mean()) < 1.25
    covered = ((maps - exact).abs() < 1.96 * errors).double().mean()
    assert 0.9 < float(covered) < 0.99
    assert float(exact.amax() - exact.amin()) > 20 * float(errors.mean()), "the map says something"


def test_the_map_is_the_sum_of_the_weighted_masks(small: nn.Module):
    images, knobs = faces(2), {"samples": 130, "grid": 4, "shown": 0.5, "fill": 0.5}
    found = fervis.explain(small, images, "rise", target=1, **knobs)
    generator = generator_for(0, "explainer/rise")
    masks = torch.cat([rise_masks(count, SIDE, SIDE, 4, 0.5, generator) for count in (100, 30)])
    for number, image in enumerate(images):
        expected = torch.zeros(SIDE, SIDE)
        values = []
        for mask in masks:
            with torch.no_grad():
                score = small((mask * image + (1 - mask) * 0.5)[None]).softmax(1)[0, 1]
            expected += score * mask / 130 / 0.5
            values.append(score * mask / 0.5)
        torch.testing.assert_close(found.maps[number], expected, rtol=1e-5, atol=1e-6)
        assert found.errors is not None
        spread = torch.stack(values).std(0) / 130**0.5
        torch.testing.assert_close(found.errors[number], spread, rtol=1e-3, atol=1e-6)


def test_it_stops_when_the_error_is_small_enough_image_by_image(small: nn.Module):
    images = torch.cat([faces(), torch.full((1, 1, SIDE, SIDE), 0.5)])
    knobs: dict[str, Any] = {"samples": 3000, "grid": 4, "target": 1}
    whole = fervis.explain(small, images, "rise", **knobs)
    assert whole.scores is not None
    target = 1.5 * float(whole.scores["error"][0])
    some = fervis.explain(small, images, "rise", error_target=target, **knobs)
    assert some.scores is not None
    assert whole.scores["samples"].tolist() == [3000, 3000]
    assert 100 < float(some.scores["samples"][0]) < 3000
    assert float(some.scores["error"][0]) < target
    assert float(whole.scores["error"][0]) < float(some.scores["error"][0])
    alone = fervis.explain(small, images[:1], "rise", error_target=target, **knobs)
    torch.testing.assert_close(alone.maps[0], some.maps[0], rtol=1e-5, atol=1e-7)
